//! The four output formats of `pvesh`, and the indented lists of `qm status --verbose`.
//!
//! Source: `pve-common: src/PVE/CLIFormatter.pm: print_api_result`, `qemu-server: src/PVE/CLI/qm.pm:
//! print_recursive_hash`. In the format `text`, PVE renders some columns for the eye (sizes, durations); the plain
//! values stand here.

use std::collections::BTreeSet;

use serde_json::Value;

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Tables for people.
    Text,
    /// One line, keys sorted.
    Json,
    /// Indented by three blanks, as Perl does.
    JsonPretty,
    /// A YAML document.
    Yaml,
}

impl Format {
    /// The format of that name.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "json-pretty" => Ok(Self::JsonPretty),
            "yaml" => Ok(Self::Yaml),
            other => Err(format!(
                "value '{other}' does not have a value in the enumeration 'text, json, json-pretty, yaml'"
            )),
        }
    }

    /// A result in this format. `Null` is a method without a result, which prints nothing.
    pub(crate) fn render(self, data: &Value) -> String {
        match (self, data) {
            (_, Value::Null) => String::new(),
            (Self::Json, _) => format!("{data}\n"),
            (Self::JsonPretty, _) => {
                let mut text = String::new();
                pretty(data, 0, &mut text);
                text.push('\n');
                text
            }
            (Self::Yaml, _) => format!("---\n{}", serde_yaml::to_string(data).unwrap_or_default()),
            (Self::Text, Value::Array(rows)) if rows.is_empty() => String::new(),
            (Self::Text, Value::Array(rows)) if rows.iter().all(Value::is_object) => {
                let names: BTreeSet<&String> = rows
                    .iter()
                    .filter_map(Value::as_object)
                    .flat_map(|row| row.keys())
                    .collect();
                let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
                let rows = rows
                    .iter()
                    .map(|row| names.iter().map(|name| Cell::of(&row[*name])).collect())
                    .collect();
                table(Some(&names), rows)
            }
            (Self::Text, Value::Array(rows)) => {
                table(None, rows.iter().map(|row| vec![Cell::of(row)]).collect())
            }
            (Self::Text, Value::Object(fields)) => {
                let row = |(key, value): (&String, &Value)| {
                    vec![
                        Cell {
                            text: key.clone(),
                            right: false,
                        },
                        Cell::left(value),
                    ]
                };
                table(Some(&["key", "value"]), fields.iter().map(row).collect())
            }
            (Self::Text, Value::String(text)) => format!("{text}\n"),
            (Self::Text, other) => format!("{other}\n"),
        }
    }
}

fn pretty(data: &Value, depth: usize, out: &mut String) {
    let open = |out: &mut String, index: usize| {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&"   ".repeat(depth + 1));
    };
    let close = |out: &mut String| {
        out.push('\n');
        out.push_str(&"   ".repeat(depth));
    };
    match data {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (index, (key, value)) in fields.iter().enumerate() {
                open(out, index);
                out.push_str(&format!("{} : ", Value::from(key.as_str())));
                pretty(value, depth + 1, out);
            }
            close(out);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                open(out, index);
                pretty(item, depth + 1, out);
            }
            close(out);
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

struct Cell {
    text: String,
    right: bool,
}

impl Cell {
    fn of(value: &Value) -> Self {
        Self {
            right: value.is_number(),
            ..Self::left(value)
        }
    }

    fn left(value: &Value) -> Self {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self { text, right: false }
    }
}

/// A table with borders. The width of a terminal does not cut it: output that is piped has none.
fn table(header: Option<&[&str]>, rows: Vec<Vec<Cell>>) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let title = header.map_or(0, |names| names[column].chars().count());
        rows.iter()
            .map(|row| row[column].text.chars().count())
            .fold(title, usize::max)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule = |left: char, line: &str, cross: char, right: char| {
        let cells: Vec<String> = widths.iter().map(|width| line.repeat(width + 2)).collect();
        format!("{left}{}{right}\n", cells.join(&cross.to_string()))
    };
    let line = |cells: Vec<(&str, bool)>| {
        let cells = cells
            .into_iter()
            .zip(&widths)
            .map(|((text, right), width)| {
                if right {
                    format!(" {text:>width$} ")
                } else {
                    format!(" {text:<width$} ")
                }
            });
        format!("│{}│\n", cells.collect::<Vec<_>>().join("│"))
    };
    let mut text = rule('┌', "─", '┬', '┐');
    let mut separator = rule('├', "─", '┼', '┤');
    let last = rule('└', "─", '┴', '┘');
    if let Some(names) = header {
        let right = |column: usize| rows.iter().all(|row| row[column].right);
        text.push_str(&line(
            names
                .iter()
                .enumerate()
                .map(|(column, name)| (*name, right(column)))
                .collect(),
        ));
        separator = rule('╞', "═", '╪', '╡');
    }
    for (index, row) in rows.iter().enumerate() {
        if index > 0 || header.is_some() {
            text.push_str(&separator);
            separator = rule('├', "─", '┼', '┤');
        }
        text.push_str(&line(
            row.iter()
                .map(|cell| (cell.text.as_str(), cell.right))
                .collect(),
        ));
    }
    text + &last
}

/// `key: value`, and below it what a nested value holds, one tab deeper each time.
pub(crate) fn indented(key: &str, value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let inner = fields.iter().flat_map(|(key, value)| {
                indented(key, value)
                    .lines()
                    .map(|line| format!("\t{line}\n"))
                    .collect::<Vec<_>>()
            });
            std::iter::once(format!("{key}:\n")).chain(inner).collect()
        }
        Value::Null => String::new(),
        Value::Bool(on) => format!("{key}: {}\n", u8::from(*on)),
        Value::String(text) => format!("{key}: {text}\n"),
        other => format!("{key}: {other}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_format_has_its_own_look() {
        let data = json!([{"vmid": 101, "name": "web"}, {"vmid": 7, "tags": ["a"]}]);
        assert_eq!(
            Format::Json.render(&data),
            "[{\"name\":\"web\",\"vmid\":101},{\"tags\":[\"a\"],\"vmid\":7}]\n"
        );
        assert_eq!(
            Format::JsonPretty.render(&json!({"a": [], "b": {"c": 1}})),
            "{\n   \"a\" : [],\n   \"b\" : {\n      \"c\" : 1\n   }\n}\n"
        );
        assert_eq!(Format::Yaml.render(&json!({"a": 1})), "---\na: 1\n");
        assert_eq!(
            Format::Text.render(&json!([{"name": "web", "vmid": 101}, {"vmid": 7}])),
            "┌──────┬──────┐\n│ name │ vmid │\n╞══════╪══════╡\n│ web  │  101 │\n├──────┼──────┤\n│      │    7 │\n└──────┴──────┘\n"
        );
        assert_eq!(Format::Text.render(&json!("UPID:x")), "UPID:x\n");
    }

    #[test]
    fn a_method_without_a_result_prints_nothing() {
        assert_eq!(Format::Json.render(&Value::Null), "");
    }
}
