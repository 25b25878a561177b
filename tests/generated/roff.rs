//! Text as a manual page writes it.

/// `text` with everything escaped that the formatter would take for its own.
pub(crate) fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.chars().next() {
            Some('.' | '\'') => format!("\\&{line}"),
            _ => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

/// `text` in bold.
pub(crate) fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

/// `text` in italics: something to be replaced.
pub(crate) fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escape(text))
}

/// Puts `parts` into the places of `template` that are named `@LIKE THIS@`, each a line of its own.
pub(crate) fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut page = String::from(".\\\" Made from the code: UPDATE=1 cargo test --test generated\n");
    for line in template.lines() {
        match parts.iter().find(|(name, _)| line == format!("@{name}@")) {
            Some((_, part)) => page += part,
            None => {
                assert!(!line.starts_with('@'), "nothing to put for {line}");
                page += &line.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
                page += "\n";
            }
        }
    }
    page
}
