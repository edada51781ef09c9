//! Fuzzing of labels. The oracle: a label is ours exactly when it is the text that we would write for the same parts.

use super::super::*;
use crate::fuzz_tests::{Target, fuzz};

const WORDS: &[&str] =
    &["vk:", "prod", ":duel-0", ":aaaaaaaaaaa", ":", "-", "vk:prod:", "VK:", "\u{17f}", " ", "prod2"];

#[test]
fn fuzz_label() {
    let fleet: FleetName = "prod".parse().unwrap();
    let must = &["ours", "malformed", "foreign"];
    fuzz(&Target { name: "label", words: WORDS, must, weight: 1 }, |input| {
        let text = String::from_utf8_lossy(input);
        let begins = text == "vk:prod" || text.starts_with("vk:prod:");
        match ownership(Some(&text), &fleet) {
            Ownership::Ours(node, op) => {
                let label = Label { fleet: fleet.clone(), node, op };
                assert_eq!(label.to_string(), text);
                format!("ours {}", text.len())
            }
            Ownership::Malformed => {
                assert!(begins, "{text:?} is somebody else's");
                format!("malformed {}", text.matches(':').count().min(9))
            }
            Ownership::Foreign => {
                assert!(!begins, "{text:?} bears our prefix");
                format!("foreign {}", text.matches(':').count().min(9))
            }
        }
    });
}
