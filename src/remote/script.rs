//! Scripts and how they travel: on stdin, framed so that their end can be told from a lost connection.
//!
//! The command line that `ssh` sends, and that any user of the box can read, is the same for every script but for two
//! numbers. It reads the script's exact length from stdin and evaluates it; what follows on stdin is the script's own
//! input. The whole body stands in one `( … )`, so a script cut short by a dying connection is a syntax error and does
//! nothing at all.

use std::{fmt::Write as _, time::Duration};

use crate::crash::{self, Point};

/// A script for the box's `sh`, with named values.
///
/// The body is fixed text of this program. Values never stand in a command line; the body uses them as shell variables.
#[derive(Debug, Clone)]
pub struct Script {
    body: &'static str,
    values: Vec<(&'static str, String)>,
    step: Option<&'static str>,
}

impl Script {
    /// A script without values.
    #[must_use]
    pub fn new(body: &'static str) -> Self {
        Self { body, values: Vec::new(), step: None }
    }

    /// Names the step of a deploy that it is a part of, for the crash points.
    #[must_use]
    pub(crate) fn of(self, step: &'static str) -> Self {
        Self { step: Some(step), ..self }
    }

    /// Passes the crash points of a script that was sent.
    pub(super) fn sent(&self) {
        crash::at(Point::ScriptSent);
        if let Some(step) = self.step {
            crash::at(Point::InStep(step));
        }
    }

    /// Gives the script a shell variable; any text without NUL arrives unharmed.
    #[must_use]
    pub fn value(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// The text for stdin, or `None` if a value holds NUL, which no shell variable can.
    pub(super) fn framed(&self, nonce: &str) -> Option<String> {
        let mut text = String::with_capacity(self.body.len() + 512);
        for (name, value) in &self.values {
            if value.contains('\0') {
                return None;
            }
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}={}", quote(value));
        }
        let _ = write!(
            text,
            "printf '%s begin\\n' {nonce}\nprintf '%s begin\\n' {nonce} >&2\n(\n{}\n)\nrc=$?\nprintf '\\n%s rc=%s\\n' {nonce} \"$rc\"\nexit 0\n",
            self.body
        );
        Some(text)
    }
}

/// A text as one word of a POSIX shell: between single quotes nothing has a meaning.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command line for a script of `length` bytes. `timeout` ends it on the box even if the keeper is gone; `dd` with
/// single bytes, because no other tool is sure not to read ahead into the script's own input.
pub(super) fn command_line(length: usize, limit: Duration) -> String {
    let seconds = limit.as_secs().saturating_add(5);
    format!(r#"exec timeout -k 5 {seconds} sh -c 's=$(dd bs=1 count={length} 2>/dev/null) && eval "$s"'"#)
}

/// What stands between the markers of one stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unframed {
    /// What the script printed, without the noise that login files print before.
    pub(super) text: String,
    /// The body's exit code; `None` without a trailer.
    pub(super) rc: Option<i32>,
}

/// Takes the markers off.
pub(super) fn unframe(bytes: &[u8], nonce: &str) -> Unframed {
    let text = String::from_utf8_lossy(bytes);
    let begin = format!("{nonce} begin\n");
    let body = text.split_once(&begin).map_or(text.as_ref(), |(_, after)| after);
    let trailer = format!("\n{nonce} rc=");
    match body.rsplit_once(&trailer) {
        Some((body, rc)) => Unframed { text: body.to_owned(), rc: rc.trim().parse().ok() },
        None => Unframed { text: body.to_owned(), rc: None },
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use proptest::prelude::*;

    use super::*;

    /// Runs a framed script as the box would, by a local shell.
    fn run(script: &Script, input: &[u8], cut: Option<usize>) -> (Unframed, Unframed) {
        let framed = script.framed("n0nce").unwrap();
        let mut child = Command::new("sh")
            .args(["-c", &command_line(framed.len(), Duration::from_secs(10))])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut all = framed.into_bytes();
        all.extend_from_slice(input);
        all.truncate(cut.unwrap_or(all.len()));
        // A script that does not read its input closes the pipe early.
        let _ = child.stdin.take().unwrap().write_all(&all);
        let output = child.wait_with_output().unwrap();
        (unframe(&output.stdout, "n0nce"), unframe(&output.stderr, "n0nce"))
    }

    #[test]
    fn every_way_to_end_is_told_with_its_output() {
        for (body, rc) in
            [("true", 0), ("exit 3", 3), ("no-such-program", 127), ("exit 255", 255), ("kill -9 $$", -1)]
        {
            let (out, _) = run(&Script::new(body), b"", None);
            assert_eq!(out.rc, (rc >= 0).then_some(rc), "{body}");
        }
        let (out, err) = run(
            &Script::new("echo out; echo err >&2; (sh -c 'kill -9 $$'; exit $?) 2>/dev/null; exit $?"),
            b"",
            None,
        );
        assert_eq!((out.rc, out.text.as_str(), err.text.as_str()), (Some(137), "out\n", "err\n"));
    }

    #[test]
    fn the_input_reaches_the_script_to_the_byte() {
        let (out, _) = run(&Script::new("wc -c; true"), &[0, 10, 255, 13, 0], None);
        assert_eq!(out.text.trim(), "5");
    }

    #[test]
    fn a_script_cut_short_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = Script::new("touch \"$mark\"\ntrue").value("mark", mark.to_str().unwrap());
        let whole = script.framed("n0nce").unwrap().len();
        let body_end = whole - "\n)\nrc=$?\nprintf '\\n%s rc=%s\\n' n0nce \"$rc\"\nexit 0\n".len();
        for cut in [0, 1, whole / 2, body_end - 3, body_end, body_end + 1] {
            assert_eq!(run(&script, b"", Some(cut)).0.rc, None);
            assert!(!mark.exists(), "cut at {cut} of {whole}");
        }
        assert_eq!(run(&script, b"", None).0.rc, Some(0));
        assert!(mark.exists());
    }

    #[test]
    fn noise_of_login_files_is_cut_off() {
        let seen = unframe(b"Welcome to your GPU\nn0nce begin\nreal\n\nn0nce rc=7\n", "n0nce");
        assert_eq!(seen, Unframed { text: "real\n".into(), rc: Some(7) });
        assert_eq!(unframe(b"Welcome\n", "n0nce").rc, None);
    }

    #[test]
    fn a_value_with_nul_is_refused() {
        assert!(Script::new("true").value("v", "a\0b").framed("n").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_value_arrives_unharmed(value in "[^\0]{0,40}") {
            let (out, _) = run(&Script::new("printf %s \"$v\"").value("v", value.clone()), b"", None);
            prop_assert_eq!(out.text, value);
        }
    }
}
