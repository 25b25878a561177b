//! Command lines as Proxmox's commands read them: Perl's Getopt::Long, then the checks of the API's schema.
//!
//! Source: `pve-common: src/PVE/JSONSchema.pm: get_options, validate`, `PVE_TAG_RE`, `pve_verify_vmid`.

use std::collections::BTreeMap;

use super::failure::{Done, EARLY, Failure};
use crate::vmconf::schema::{self, Kind};

/// What may follow an option's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Perhaps a boolean; nothing means yes.
    Flag,
    /// One value; the last one counts.
    Value,
    /// Values that add up to one list.
    List,
}

/// One option that a command knows.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    name: String,
    takes: Takes,
}

/// An option of a command.
pub(crate) fn spec(name: &str, takes: Takes) -> Spec {
    Spec {
        name: name.to_owned(),
        takes,
    }
}

/// The options of `qm set`: every config key, and what steers the change.
pub(crate) fn update_specs() -> Vec<Spec> {
    let keys = schema::names().into_iter().map(|name| {
        let boolean = schema::rule(&name).is_some_and(|rule| rule.kind == Kind::Boolean);
        Spec {
            takes: if boolean { Takes::Flag } else { Takes::Value },
            name,
        }
    });
    let steering = [
        spec("digest", Takes::Value),
        spec("skiplock", Takes::Flag),
        spec("force", Takes::Flag),
        spec("delete", Takes::List),
        spec("revert", Takes::List),
        spec("import-working-storage", Takes::Value),
    ];
    keys.chain(steering).collect()
}

/// A command line taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// What is no option, in order.
    pub(crate) positional: Vec<String>,
    /// Option and value. A flag is `1` or `0`.
    pub(crate) options: BTreeMap<String, String>,
}

impl Parsed {
    /// Takes an option's value out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.options.remove(name)
    }

    /// Takes a flag out.
    pub(crate) fn take_flag(&mut self, name: &str) -> bool {
        self.take(name).as_deref() == Some("1")
    }
}

/// Reads a command line. `complain` gets the lines that Getopt::Long prints about each mistake.
pub(crate) fn parse(
    specs: &[Spec],
    args: &[String],
    mut complain: impl FnMut(&str),
) -> Done<Parsed> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter().peekable();
    let mut broken = false;
    while let Some(arg) = rest.next() {
        let Some(body) = arg
            .strip_prefix("--")
            .or_else(|| arg.strip_prefix('-'))
            .filter(|body| !body.is_empty())
        else {
            if arg == "--" {
                parsed.positional.extend(rest.cloned());
                break;
            }
            parsed.positional.push(arg.clone());
            continue;
        };
        let (name, attached) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let found = match find(specs, name) {
            Ok(found) => found,
            Err(complaint) => {
                complain(&complaint);
                broken = true;
                continue;
            }
        };
        let value = match (attached, found.takes) {
            (Some(value), _) => value,
            // Only what does not look like an option can be a flag's value; an option's value may be anything.
            (None, Takes::Flag) => rest
                .next_if(|next| !next.starts_with('-'))
                .cloned()
                .unwrap_or_default(),
            (None, Takes::Value | Takes::List) => match rest.next() {
                Some(value) => value.clone(),
                None => {
                    complain(&format!("Option {} requires an argument\n", found.name));
                    broken = true;
                    continue;
                }
            },
        };
        store(&mut parsed.options, found, value);
    }
    if broken {
        return Err(Failure::unparsable("unable to parse option"));
    }
    for found in specs.iter().filter(|spec| spec.takes == Takes::Flag) {
        if let Some(value) = parsed.options.get_mut(&found.name) {
            let on = if value.is_empty() {
                Some(true)
            } else {
                schema::boolean(value)
            };
            let on = on.ok_or_else(|| Failure::unparsable("unable to parse boolean option"))?;
            *value = u8::from(on).to_string();
        }
    }
    Ok(parsed)
}

fn store(options: &mut BTreeMap<String, String>, found: &Spec, value: String) {
    match options.get_mut(&found.name) {
        Some(list) if found.takes == Takes::List => {
            list.push(',');
            list.push_str(&value);
        }
        _ => {
            options.insert(found.name.clone(), value);
        }
    }
}

/// An option by its name or any unambiguous beginning of it.
fn find<'a>(specs: &'a [Spec], name: &str) -> Result<&'a Spec, String> {
    if let Some(exact) = specs
        .iter()
        .find(|spec| spec.name.eq_ignore_ascii_case(name))
    {
        return Ok(exact);
    }
    let lower = name.to_ascii_lowercase();
    let mut fitting: Vec<&Spec> = specs
        .iter()
        .filter(|spec| spec.name.starts_with(&lower))
        .collect();
    fitting.sort_by(|a, b| a.name.cmp(&b.name));
    match fitting.as_slice() {
        [] => Err(format!("Unknown option: {name}\n")),
        [only] => Ok(only),
        several => {
            let names: Vec<&str> = several.iter().map(|spec| spec.name.as_str()).collect();
            Err(format!(
                "Option {name} is ambiguous ({})\n",
                names.join(", ")
            ))
        }
    }
}

/// Hands out exactly `count` positional arguments.
pub(crate) fn positional<const COUNT: usize>(parsed: &mut Parsed) -> Done<[String; COUNT]> {
    let given = std::mem::take(&mut parsed.positional);
    let headline = if given.len() < COUNT {
        "not enough arguments"
    } else {
        "too many arguments"
    };
    given.try_into().map_err(|_| Failure::unparsable(headline))
}

/// A VMID, or PVE's complaint about it.
pub(crate) fn vmid(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    match number {
        None if !digits => Err(format!("type check ('integer') failed - got '{text}'")),
        Some(vmid) if (3..=9).contains(&text.len()) && !text.starts_with('0') => Ok(vmid),
        _ => Err("invalid format - value does not look like a valid VM ID\n".to_owned()),
    }
}

/// Holds config values against the schema. All mistakes are reported at once.
pub(crate) fn check_config_values(
    options: &BTreeMap<String, String>,
    vmid_text: &str,
) -> Done<u32> {
    let mut errors = Vec::new();
    for (name, value) in options {
        let verdict = match name.as_str() {
            "delete" | "revert" => check_config_ids(value),
            "digest" if value.len() > 64 => Err("value may only be 64 characters long".to_owned()),
            "description" if value.chars().count() > 8192 => {
                Err("value may only be 8192 characters long".to_owned())
            }
            _ => schema::check_argument(name, value),
        };
        if let Err(message) = verdict {
            errors.push((name.clone(), message));
        }
    }
    match vmid(vmid_text) {
        Ok(vmid) if errors.is_empty() => Ok(vmid),
        Ok(_) => Err(Failure::parameters(errors, EARLY)),
        Err(message) => {
            errors.push(("vmid".to_owned(), message));
            Err(Failure::parameters(errors, EARLY))
        }
    }
}

fn check_config_ids(list: &str) -> Result<(), String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let valid = |id: &str| {
        id.len() >= 2 && id.starts_with(|c: char| c.is_ascii_alphabetic()) && id.chars().all(inner)
    };
    match schema::split_list(list).find(|id| !valid(id)) {
        Some(id) => Err(format!(
            "invalid format - invalid configuration ID '{id}'\n"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_set(line: &str) -> (Done<Parsed>, String) {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut complaints = String::new();
        (
            parse(&update_specs(), &args, |text| complaints.push_str(text)),
            complaints,
        )
    }

    fn options(line: &str) -> String {
        let parsed = parse_set(line).0.unwrap();
        parsed
            .options
            .iter()
            .map(|(name, value)| format!("{name}={value} "))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    #[test]
    fn options_take_one_or_two_dashes_an_equals_sign_and_short_forms() {
        assert_eq!(options("101 --vcpus 2 -cores=4"), "cores=4 vcpus=2");
        assert_eq!(options("--vcp 3"), "vcpus=3");
        assert_eq!(
            options("--delete vcpus --delete=shares"),
            "delete=vcpus,shares"
        );
        assert_eq!(options("--vcpus 1 --vcpus 2"), "vcpus=2");
    }

    #[test]
    fn a_flag_needs_no_value_and_takes_words_for_yes_and_no() {
        assert_eq!(
            options("--skiplock --numa no --onboot On"),
            "numa=0 onboot=1 skiplock=1"
        );
        assert_eq!(
            parse_set("--numa perhaps").0,
            Err(Failure::unparsable("unable to parse boolean option"))
        );
    }

    #[test]
    fn mistakes_are_all_named_before_the_command_gives_up() {
        let (result, complaints) = parse_set("101 --colour red --c 1 --vcpus");
        assert_eq!(result, Err(Failure::unparsable("unable to parse option")));
        assert!(
            complaints.starts_with("Unknown option: colour\nOption c is ambiguous ("),
            "{complaints}"
        );
        assert!(
            complaints.ends_with("Option vcpus requires an argument\n"),
            "{complaints}"
        );
    }

    #[test]
    fn a_vmid_has_three_to_nine_digits() {
        assert_eq!(vmid("100"), Ok(100));
        for wrong in ["99", "012", "1234567890", "99999999999999999999"] {
            assert_eq!(
                vmid(wrong).unwrap_err(),
                "invalid format - value does not look like a valid VM ID\n",
                "{wrong}"
            );
        }
        assert_eq!(
            vmid("web").unwrap_err(),
            "type check ('integer') failed - got 'web'"
        );
    }
}
