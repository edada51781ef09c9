//! Fuzzing of what comes back over SSH: framed output, a witness' report, the words of `ssh` itself.
//!
//! The oracle: *up* and *down* only for what the report says, never *down* of a server that answered; whatever is shown to
//! people is short and printable.

use super::{
    super::{fault, script::unframe},
    *,
};
use crate::fuzz_tests::{Target, fuzz};

const NONCE: &str = "vk0123456789abcdef";
const WORDS: &[&str] = &[
    "vk0123456789abcdef begin\n",
    "\nvk0123456789abcdef rc=0\n",
    "\nvk0123456789abcdef rc=124\n",
    "process=alive\n",
    "process=dead\n",
    "process=stopped\n",
    "port=open\n",
    "port=closed\n",
    "http=200\n",
    "http=503\n",
    "http=refused\n",
    "http=silent\n",
    "\nbody\n",
    "{\"instance\":\"aaaaaaaaaaa\"}",
    "{\"instance\":7}",
    "Permission denied (publickey).\r\n",
    "REMOTE HOST IDENTIFICATION HAS CHANGED!\n",
    "Host key verification failed.\r\n",
    "SHA256:",
    "Bad configuration option",
    "\u{1b}[31m",
    "\r",
];

#[test]
fn fuzz_ssh() {
    let op: OpId = "aaaaaaaaaaa".parse().unwrap();
    let must = &["up", "down", "silent", "no end"];
    fuzz(&Target { name: "ssh", words: WORDS, must, weight: 1 }, |input| {
        let log = String::from_utf8_lossy(input);
        let fault = fault::read(&log);
        let detail = fault.detail();
        // The last line and what is offered, each cut to 300 characters.
        assert!(detail.chars().count() <= 620 && detail.chars().all(|c| !c.is_control()), "{detail:?}");

        let output = unframe(input, NONCE);
        if output.rc.is_some() {
            assert!(log.contains(&format!("\n{NONCE} rc=")), "an end that nobody told");
        }
        let report = Report::read(&output.text);
        let word = match judge(&report, Some(&op)) {
            Witnessed::ServerUp => {
                assert!(output.text.lines().any(|line| line == "http=200"));
                assert!(output.text.contains("aaaaaaaaaaa") || output.text.contains("\\u"));
                "up"
            }
            Witnessed::ServerDown(_) => {
                assert_ne!(report.http, "200", "it answered");
                assert!(report.http.parse::<u16>().is_err(), "it answered {}", report.http);
                let dead = ["dead", "stopped"].contains(&report.process.as_str());
                assert!(dead || report.port == "closed" || report.http == "refused");
                "down"
            }
            Witnessed::Halfway(what) => {
                assert!(report.http != "200" && what.chars().all(|c| !c.is_control()));
                "half-way"
            }
            Witnessed::Silent(_) => "silent",
        };
        match output.rc {
            Some(rc) => format!("{word} rc {rc}"),
            None => format!("no end, {word}, retryable {}", fault.retryable()),
        }
    });
}
