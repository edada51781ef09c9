//! What a deploy would change in the settings of the server that runs: names, never values. Pure.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

/// The differences between the settings on the box and the wanted ones, one word each: `+NEW`, `-GONE`, `~CHANGED`.
pub(super) fn drift(on_box: &str, wanted: &BTreeMap<String, SecretString>) -> Vec<String> {
    let found = read(on_box);
    let mut told = Vec::new();
    for (name, value) in wanted {
        match found.get(name.as_str()) {
            None => told.push(format!("+{name}")),
            Some(there) if there != value.expose_secret() => told.push(format!("~{name}")),
            Some(_) => {}
        }
    }
    told.extend(found.keys().filter(|name| !wanted.contains_key(**name)).map(|name| format!("-{name}")));
    told
}

/// One setting of those on the box.
pub(super) fn setting(on_box: &str, name: &str) -> Option<String> {
    read(on_box).remove(name)
}

/// Reads what `settings_file` has written: a name and a value between single quotes, in which a quote is `'\''`.
fn read(text: &str) -> BTreeMap<&str, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("='") {
        let mut value = String::new();
        let mut open = after;
        loop {
            let Some((part, behind)) = open.split_once('\'') else { return found };
            value.push_str(part);
            match behind.strip_prefix(r"\''") {
                Some(more) => {
                    value.push('\'');
                    open = more;
                }
                None => {
                    open = behind;
                    break;
                }
            }
        }
        found.insert(name.trim_start_matches('\n'), value);
        rest = open;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::env_file::settings_file, *};

    #[test]
    fn names_are_told_and_no_values() {
        let set = |pairs: &[(&str, &str)]| -> BTreeMap<String, SecretString> {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretString::from((*value).to_owned())))
                .collect()
        };
        let before = settings_file(&set(&[("A", "it's\nA='x'"), ("B", "secret-1"), ("C", "same")])).unwrap();
        let after = set(&[("B", "secret-2"), ("C", "same"), ("D", "new")]);
        assert_eq!(drift(&before, &after), ["~B", "+D", "-A"]);
        assert_eq!(drift("", &set(&[])), [] as [&str; 0]);
        assert_eq!(setting(&before, "A").as_deref(), Some("it's\nA='x'"));
        assert_eq!(setting(&before, "D"), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(values in prop::collection::btree_map("[A-HJ-Z]{2,5}X", "[^\0]{0,40}", 0..5)) {
            let wanted: BTreeMap<String, SecretString> =
                values.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect();
            let text = settings_file(&wanted).unwrap();
            prop_assert_eq!(drift(&text, &wanted), Vec::<String>::new());
        }

        #[test]
        fn any_text_is_read(text in "\\PC{0,100}") {
            let _ = drift(&text, &BTreeMap::new());
        }
    }
}
