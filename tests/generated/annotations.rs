//! The annotated examples as the one place where each key is explained: its comments, by key.

use std::collections::BTreeMap;
use std::fs;

use vm_autoscale::config::known_keys;

/// What the example's comments say about each key. A key without a comment of its own shares the one of the key
/// before it, as `max` does that of `min`; a section without one has none.
pub(crate) fn of_the_examples() -> BTreeMap<String, Vec<String>> {
    let text: String = ["examples/config.yaml", "examples/notify.yaml"]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    let mut described = BTreeMap::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<String> = Vec::new();
    // The last comment, and how far in the keys that may share it stand.
    let mut shared: (usize, Vec<String>) = (0, Vec::new());
    for line in text.lines() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        if let Some(words) = bare.strip_prefix('#') {
            comment.push(words.strip_prefix(' ').unwrap_or(words).to_owned());
            continue;
        }
        let Some((key, rest)) = bare.split_once(':').filter(|_| !bare.starts_with('-')) else {
            comment.clear();
            shared = (0, Vec::new());
            continue;
        };
        parents.retain(|(depth, _)| *depth < indent);
        parents.push((indent, key.to_owned()));
        let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
        if !comment.is_empty() {
            shared = (indent, std::mem::take(&mut comment));
        } else if shared.0 != indent {
            shared = (indent, Vec::new());
        }
        let section = rest.trim().is_empty() || rest.trim() == "{}";
        if let Some(key) = known(&path)
            && (section || !shared.1.is_empty())
        {
            described.entry(key).or_insert_with(|| shared.1.clone());
        }
        if section {
            shared = (0, Vec::new());
        }
    }
    described
}

/// The name of the key at `path` in documentation: with `NAME` or `VMID` where the name is free to choose.
fn known(path: &[&str]) -> Option<String> {
    let fits = |key: &&String| {
        let words: Vec<&str> = key.split('.').collect();
        words.len() == path.len()
            && words
                .iter()
                .zip(path)
                .all(|(word, given)| word == given || is_placeholder(word))
    };
    known_keys().keys().find(fits).cloned()
}

/// Whether a part of a key stands for a name that is free to choose.
pub(crate) fn is_placeholder(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())
}
