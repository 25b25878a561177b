//! Templates: the language of Jinja, with the values escaped for what they are put into.

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};

/// The longest text that a template may make, in bytes.
const LONGEST: usize = 256 * 1024;

/// What a template makes, which decides how values are escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Makes {
    /// Plain text: values stand as they are.
    Text,
    /// HTML: values cannot be markup.
    Html,
    /// JSON: a value is written as a JSON value, strings with their quotes.
    Json,
}

impl Makes {
    /// What a body of this content type is.
    pub(super) fn from_content_type(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "text/html" => Self::Html,
            json if json == "application/json" || json.ends_with("+json") => Self::Json,
            _ => Self::Text,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "template.txt",
            Self::Html => "template.html",
            Self::Json => "template.json",
        }
    }
}

/// A template that cannot be used. The text never shows the values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl TemplateError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Renders `source` with `values`.
///
/// # Errors
/// If the template is wrong, asks for a value that does not exist, or makes text that is too long or, for JSON, no JSON.
pub(super) fn render(source: &str, makes: Makes, values: Value) -> Result<String, TemplateError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("html") => AutoEscape::Html,
        Some("json") => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(1_000_000));
    let text = environment
        .render_named_str(makes.name(), source, values)
        .map_err(|error| TemplateError(explain(&error)))?;
    if text.len() > LONGEST {
        return Err(TemplateError::new("makes more than 256 KiB of text"));
    }
    if makes == Makes::Json
        && let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&text)
    {
        let hint = "values are written as JSON, so put no quotes around {{ … }}";
        return Err(TemplateError(format!(
            "makes no valid JSON ({error}); {hint}"
        )));
    }
    Ok(text)
}

fn explain(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or_else(String::new, |n| format!(" in line {n}"));
    match error.kind() {
        ErrorKind::UndefinedError => format!("asks for a value that does not exist{line}"),
        ErrorKind::OutOfFuel => "does not come to an end".to_owned(),
        kind => {
            let detail = error
                .detail()
                .map_or_else(String::new, |d| format!(": {d}"));
            match kind {
                ErrorKind::SyntaxError => format!("has a syntax error{line}{detail}"),
                _ => format!("fails{line}: {kind}{detail}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn a_value_cannot_leave_the_place_it_is_put_into() {
        let hostile = context! { name => "\"},{\"x\": <b>&\n{{ 7*7 }}" };
        let json = render(r#"{"text": {{ name }}}"#, Makes::Json, hostile.clone()).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["text"], "\"},{\"x\": <b>&\n{{ 7*7 }}");
        let html = render("<p>{{ name }}</p>", Makes::Html, hostile).unwrap();
        assert!(
            !html.contains("<b>") && html.contains("&lt;b&gt;"),
            "{html}"
        );
    }

    #[test]
    fn a_wrong_template_says_what_is_wrong_in_one_sentence() {
        let why = |source, makes| {
            render(source, makes, context! { title => "x" })
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            why("{{ titel }}", Makes::Text),
            "asks for a value that does not exist in line 1"
        );
        assert!(why("{% if title %}", Makes::Text).starts_with("has a syntax error"));
        assert!(why(r#"{"a": "{{ title }}"}"#, Makes::Json).contains("put no quotes around"));
        let endless =
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(!why(endless, Makes::Text).is_empty());
    }
}
