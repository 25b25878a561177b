//! The configuration's JSON schema, for editors that complete and check YAML (`yaml-language-server`).

use serde_json::{Map, Value, json};
use vm_autoscale::config::{Form, Known, ValueForm, known_keys};

use crate::annotations;
use crate::config_page::built_in;

/// The schema as the package ships it.
pub(crate) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap();
    text.push('\n');
    text
}

/// The schema. Draft 7 is what editors know.
pub(crate) fn schema() -> Value {
    let mut root = section("");
    let about = root.as_object_mut().unwrap();
    about.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    about.insert("title".to_owned(), json!("/etc/vm-autoscale/config.yaml"));
    root
}

/// The section at `path`. With nothing behind its colon it is empty.
fn section(path: &str) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for (name, key, known) in children(path) {
        match (annotations::is_placeholder(&name), known) {
            (true, _) => {
                let names = if name == "VMID" {
                    "^[1-9][0-9]{2,8}$"
                } else {
                    "^[a-z0-9_+.-]+$"
                };
                patterns.insert(names.to_owned(), section(&key));
            }
            (false, Some(known)) => {
                properties.insert(name, described(&key, known));
            }
            (false, None) => unreachable!("{key} has keys below it but is not known itself"),
        }
    }
    let mut schema = json!({"type": ["object", "null"], "additionalProperties": false});
    for (word, map) in [("properties", properties), ("patternProperties", patterns)] {
        if !map.is_empty() {
            schema[word] = Value::Object(map);
        }
    }
    schema
}

/// What stands directly below `path`: name, key, and what is known of it unless the name is free to choose.
fn children(path: &str) -> Vec<(String, String, Option<&'static Known>)> {
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("{path}.")
    };
    let mut found: Vec<(String, String, Option<&Known>)> = Vec::new();
    for key in known_keys().keys() {
        let Some(rest) = key.strip_prefix(&prefix) else {
            continue;
        };
        let name = rest.split('.').next().unwrap_or(rest);
        if found.last().is_none_or(|(last, ..)| last != name) {
            let key = format!("{prefix}{name}");
            found.push((name.to_owned(), key.clone(), known_keys().get(&key)));
        }
    }
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

fn described(key: &str, known: &Known) -> Value {
    let mut schema = match &known.form {
        Form::Section => section(key),
        Form::List(items) => json!({"type": ["array", "null"], "items": value(items)}),
        Form::Value(form) => value(form),
    };
    let in_profile = key.replacen("vms.VMID.", "profiles.NAME.", 1);
    let all = annotations::of_the_examples();
    let explained = all.get(key).or(all.get(&in_profile));
    let mut text: Vec<String> = explained.cloned().unwrap_or_default();
    if known.form != Form::Section {
        text.push(format!("Expects {}.", known.expects));
        if let Some(value) = built_in().get(&in_profile).or(built_in().get(key)) {
            text.push(format!("Built in: {value}"));
        }
    }
    if !text.is_empty() {
        schema["description"] = json!(text.join("\n"));
    }
    schema
}

fn value(form: &ValueForm) -> Value {
    match form {
        // YAML turns these two words into a boolean before a schema sees them.
        ValueForm::Words(words) if *words == ["false", "true"] => json!({"type": "boolean"}),
        ValueForm::Words(words) => json!({"enum": words}),
        ValueForm::Number => json!({"type": "number"}),
        ValueForm::Pattern(pattern) => json!({"type": "string", "pattern": pattern}),
        // What a plain YAML scalar may turn out to be.
        ValueForm::Text => json!({"type": ["string", "number", "boolean"]}),
    }
}

mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn files(directory: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
            .collect()
    }

    /// A YAML file as an editor hands it to the schema: keys are text, anchors and merges are resolved.
    fn document(path: &PathBuf) -> Option<Value> {
        let mut value: serde_yaml::Value =
            serde_yaml::from_str(&fs::read_to_string(path).ok()?).ok()?;
        value.apply_merge().ok()?;
        Some(plain(value))
    }

    fn plain(value: serde_yaml::Value) -> Value {
        match value {
            serde_yaml::Value::Mapping(map) => {
                let text = |key: serde_yaml::Value| match key {
                    serde_yaml::Value::String(key) => key,
                    other => serde_yaml::to_string(&other).unwrap().trim().to_owned(),
                };
                map.into_iter()
                    .map(|(key, value)| (text(key), plain(value)))
                    .collect()
            }
            serde_yaml::Value::Sequence(items) => items.into_iter().map(plain).collect(),
            other => serde_json::to_value(other).unwrap(),
        }
    }

    #[test]
    fn the_schema_accepts_every_file_that_the_agent_accepts() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let good = files("tests/data/config/good");
        assert!(!good.is_empty());
        let shipped = ["examples/config.yaml", "etc/vm-autoscale/config.yaml"].map(PathBuf::from);
        for path in good.into_iter().chain(shipped) {
            let Some(document) = document(&path) else {
                continue;
            };
            let faults: Vec<String> = validator
                .iter_errors(&document)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(faults.is_empty(), "{}: {faults:?}", path.display());
        }
    }

    #[test]
    fn the_schema_refuses_unknown_keys_and_wrong_units() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let refused = |name: &str| {
            let path = PathBuf::from(format!("tests/data/config/bad/{name}.yaml"));
            let document = document(&path).expect(name);
            !validator.is_valid(&document)
        };
        for name in [
            "01-unknown-top-level-key",
            "02-misspelt-key",
            "03-wrong-level",
            "07-bare-size",
            "10-bare-duration",
            "13-bare-percentage",
            "15-cores-with-unit",
            "23-bad-vmid",
            "25-bad-profile-name",
            "26-wrong-choice",
            "27-list-expected",
            "28-section-expected",
        ] {
            assert!(refused(name), "{name}");
        }
    }
}
