//! The server's settings as a file that a shell reads back to the byte.
//!
//! Each value stands between single quotes, where a shell gives no character a meaning; a quote inside is written `'\''`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::fault::DeployFault;
use crate::{fleet::name::OpId, remote::quote};

/// Names that a shell keeps for itself: assigning them fails, is ignored, or breaks the reading of the next line.
const RESERVED: &[&str] = &[
    "BASHOPTS",
    "BASH_ENV",
    "BASH_VERSINFO",
    "ENV",
    "EUID",
    "IFS",
    "LINENO",
    "OLDPWD",
    "OPTIND",
    "PPID",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "UID",
    "_",
];

/// The text of a release's settings. They are part of the release: going back restores them too.
///
/// # Errors
/// A name that is no variable's name or that a shell keeps for itself, or a value with NUL: another box would fail too.
pub(super) fn settings_file(
    settings: &BTreeMap<String, SecretString>,
) -> Result<Zeroizing<String>, DeployFault> {
    let mut text = Zeroizing::new(String::new());
    for (name, value) in settings {
        check(name, value.expose_secret())?;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}={}", quote(value.expose_secret()));
    }
    Ok(text)
}

/// The text of what belongs to the box and not to the release; it is read after the settings, and wins.
pub(super) fn identity_file(op: &OpId, port: u16) -> String {
    format!("INSTANCE_ID={}\nPORT={port}\n", quote(op.as_str()))
}

fn check(name: &str, value: &str) -> Result<(), DeployFault> {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let shown: String = name.chars().take(64).collect();
    if !plain {
        return Err(DeployFault::Release(format!("`{}` is no name for a setting", shown.escape_debug())));
    }
    if RESERVED.contains(&name) {
        return Err(DeployFault::Release(format!(
            "the setting `{shown}` is a name that the shell keeps for itself"
        )));
    }
    if value.contains('\0') {
        return Err(DeployFault::Release(format!("the value of the setting `{shown}` holds a NUL byte")));
    }
    Ok(())
}

/// Masks every setting's value in a text that the server wrote, so that its words can be shown. Short values are left:
/// they are flags and numbers, and masking each `1` would make the text unreadable. A value of many lines is masked line by
/// line as well, and as a JSON log writes it: a log is cut, searched and shown by lines.
pub(super) fn mask(text: &str, settings: &BTreeMap<String, SecretString>) -> String {
    const SHORTEST_MASKED: usize = 6;
    let mut words = BTreeSet::new();
    for value in settings.values().map(ExposeSecret::expose_secret) {
        let json = serde_json::to_string(value).unwrap_or_default();
        words.insert(json.trim_matches('"').to_owned());
        words.insert(value.to_owned());
        words.extend(value.lines().map(|line| line.trim().to_owned()));
    }
    let mut words: Vec<String> = words.into_iter().filter(|word| word.len() >= SHORTEST_MASKED).collect();
    // Longest first, for one may be part of another.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.iter().fold(text.to_owned(), |text, word| text.replace(word, "***"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn settings(value: &str) -> BTreeMap<String, SecretString> {
        BTreeMap::from([
            ("ODD".to_owned(), SecretString::from(value.to_owned())),
            ("PATH".to_owned(), "/none".into()),
        ])
    }

    /// Reads the file as the supervisor does and asks a program for its environment.
    fn read_back(shell: &str, value: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        std::fs::write(&file, settings_file(&settings(value)).unwrap().as_bytes()).unwrap();
        let output = Command::new(shell)
            .args(["-c", "set -a; . \"$0\"; set +a; exec /usr/bin/env -0"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = output.stdout.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"ODD="));
        found.unwrap().to_vec()
    }

    #[test]
    fn every_character_but_nul_reaches_the_server_unharmed() {
        let ascii: String = (1..=127_u8).map(char::from).collect();
        // Two-byte characters cover every continuation byte, 0x80 to 0xbf, some of which `dash` uses inside itself.
        let wide: String = (0x80..0x800_u32).filter_map(char::from_u32).collect();
        for value in [
            ascii.as_str(),
            &wide,
            "",
            "'",
            "''\\'",
            "a\nINSTANCE_ID=x\n",
            "$(id)`id`${PATH}",
            "\n\n",
            "日本 𐍈",
        ] {
            for shell in ["/bin/sh", "/bin/bash"] {
                assert_eq!(String::from_utf8(read_back(shell, value)).unwrap(), value, "{shell}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_value_reaches_the_server_unharmed(value in "[^\0]{0,60}") {
            prop_assert_eq!(String::from_utf8(read_back("/bin/sh", &value)).unwrap(), value);
        }
    }

    #[test]
    fn bad_names_and_values_are_refused() {
        for name in ["", "A B", "1A", "A-B", "A=B", "A\nB", "$(id)", "IFS", "UID", "É"] {
            let settings = BTreeMap::from([(name.to_owned(), SecretString::from("v"))]);
            assert!(matches!(settings_file(&settings), Err(DeployFault::Release(_))), "{name}");
        }
        assert!(settings_file(&settings("a\0b")).is_err());
        assert_eq!(identity_file(&OpId::from_bits(1), 5555), "INSTANCE_ID='baaaaaaaaaa'\nPORT=5555\n");
    }

    #[test]
    fn the_servers_words_show_no_secret() {
        let settings = BTreeMap::from([
            ("LONG".to_owned(), SecretString::from("hunter2-and-more")),
            ("PART".to_owned(), SecretString::from("hunter2")),
            ("FLAG".to_owned(), SecretString::from("1")),
        ]);
        assert_eq!(mask("got hunter2-and-more, hunter2, 1", &settings), "got ***, ***, 1");
        let key = "BEGIN-KEY\nabcdef\"123456\n  END-KEY\n";
        let settings = BTreeMap::from([("KEY".to_owned(), SecretString::from(key))]);
        assert_eq!(mask(&format!("{key}."), &settings), "***.");
        assert_eq!(
            mask("line 2: abcdef\"123456", &settings),
            "line 2: ***",
            "of a log that is shown by lines"
        );
        let json = serde_json::to_string(&format!("key {key}")).unwrap();
        assert_eq!(mask(&json, &settings), "\"key ***\"");
    }
}
