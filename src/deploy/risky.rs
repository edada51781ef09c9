//! Statements that lose data, found in what a migration says it will do. Pure.
//!
//! The text may be SQL or prose with SQL in it. Comments and quoted texts are blanked first, so that a remark about a dropped table
//! is none. What is found is a question to a person and no verdict: the scan knows no schema, so it rather asks too often.

use std::fmt;

/// Objects that hold data, or that hold on to it.
const HOLDERS: [&str; 8] = ["TABLE", "COLUMN", "DATABASE", "SCHEMA", "TYPE", "VIEW", "MATERIALIZED", "OWNED"];
/// Most words of a statement that are shown.
const SHOWN: usize = 12;

/// A statement that loses data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Risk {
    /// Its line, from 1.
    pub line: usize,
    /// Its first words.
    pub words: String,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.words)
    }
}

/// The risky statements in a text.
#[must_use]
pub fn risky_statements(text: &str) -> Vec<Risk> {
    let mut found = Vec::new();
    let mut line = 1;
    for statement in blanked(text).split(';') {
        let at = |offset: usize| {
            line + statement.get(..offset).unwrap_or_default().bytes().filter(|byte| *byte == b'\n').count()
        };
        let words = words(statement);
        let upper: Vec<String> = words.iter().map(|(_, word)| word.to_ascii_uppercase()).collect();
        if let Some(first) = risk_at(&upper) {
            let shown: Vec<&str> = words.iter().skip(first).take(SHOWN).map(|(_, word)| *word).collect();
            let offset = words.get(first).map_or(0, |(offset, _)| *offset);
            found.push(Risk { line: at(offset), words: shown.join(" ") });
        }
        line += statement.bytes().filter(|byte| *byte == b'\n').count();
    }
    found
}

/// The index of the word where a statement begins to be risky.
fn risk_at(words: &[String]) -> Option<usize> {
    let word = |at: usize| words.get(at).map(String::as_str).unwrap_or_default();
    (0..words.len()).find(|&at| match word(at) {
        "DROP" => HOLDERS.contains(&word(at + 1)) || altered(words, at),
        "TRUNCATE" => at == 0 || word(at + 1) == "TABLE" || word(at + 1) == "ONLY",
        "RENAME" => altered(words, at),
        "DELETE" => word(at + 1) == "FROM" && !words.iter().skip(at).any(|word| word == "WHERE"),
        _ => false,
    })
}

/// Whether a word stands in an `ALTER TABLE …`. What may be dropped there without loss is left out.
fn altered(words: &[String], at: usize) -> bool {
    let harmless = ["CONSTRAINT", "DEFAULT", "NOT", "INDEX", "IDENTITY", "EXPRESSION"];
    let alter = words.iter().take(at).rposition(|word| word == "ALTER");
    let table =
        alter.and_then(|alter| words.get(alter + 1)).is_some_and(|word| HOLDERS.contains(&word.as_str()));
    table && !words.get(at + 1).is_some_and(|word| harmless.contains(&word.as_str()))
}

fn words(statement: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in statement.char_indices().chain([(statement.len(), ' ')]) {
        let inside = c.is_alphanumeric() || c == '_' || c == '.' || c == '"' || c == '`';
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push((from, statement.get(from..at).unwrap_or_default()));
                start = None;
            }
            _ => {}
        }
    }
    found
}

/// The text with its comments and its quoted texts blanked, lines kept.
fn blanked(text: &str) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum In {
        Code,
        Line,
        Block,
        Text,
    }
    let mut out = String::with_capacity(text.len());
    let mut state = In::Code;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let before = state;
        state = match (state, c, next) {
            (In::Code, '-', Some('-')) => In::Line,
            // One that begins with `!` is no comment to MySQL: it is executed.
            (In::Code, '/', Some('*')) if rest.clone().nth(1) != Some('!') => In::Block,
            // An apostrophe within a word of prose opens no text.
            (In::Code, '\'', _) if !out.ends_with(char::is_alphanumeric) => In::Text,
            (In::Line, '\n', _) | (In::Text, '\'', _) => In::Code,
            (In::Block, '*', Some('/')) => {
                rest.next();
                In::Code
            }
            (state, _, _) => state,
        };
        let keep = c == '\n' || (before == In::Code && state == In::Code);
        out.push(if keep { c } else { ' ' });
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        risky_statements(text).iter().map(|risk| risk.line).collect()
    }

    #[test]
    fn what_loses_data_is_found_with_its_line() {
        for text in [
            "DROP TABLE duels;",
            "drop  table if exists duels",
            "alter table users drop column email;",
            "ALTER TABLE users\n  ADD COLUMN a int,\n  DROP email;",
            "ALTER TABLE users RENAME COLUMN a TO b",
            "TRUNCATE bets;",
            "pending: 0004_gone\nTRUNCATE TABLE bets",
            "DELETE FROM bets;",
            "DROP SCHEMA old CASCADE",
            "create table a (b int); drop view v;",
            "/*!40000 DROP TABLE a */;",
            "INSERT INTO a VALUES ('it''s -- no comment'); DROP TABLE a",
        ] {
            assert_eq!(lines(text).len(), 1, "{text}");
        }
        assert_eq!(lines("select 1;\n\n-- x\nDROP TABLE a;\nselect 2;\ntruncate b;"), [4, 6]);
    }

    #[test]
    fn what_loses_nothing_is_left_alone() {
        for text in [
            "",
            "Database schema is up to date!",
            "CREATE TABLE drops (id int); INSERT INTO drops VALUES ('DROP TABLE duels');",
            "-- DROP TABLE duels\nALTER TABLE a ADD COLUMN b int;",
            "/* TRUNCATE a; */ select 1",
            "INSERT INTO log VALUES ('it''s DROP TABLE a; TRUNCATE b')",
            "COMMENT ON TABLE a IS 'before: DELETE FROM a;\nDROP TABLE a';",
            "select 1; -- it's all: DROP TABLE a\nselect 2;",
            "ALTER TABLE a DROP CONSTRAINT b",
            "ALTER TABLE a ALTER COLUMN b DROP NOT NULL",
            "DROP INDEX a_b",
            "DELETE FROM bets WHERE settled",
            "Don't drop it: the table's fine",
        ] {
            assert_eq!(lines(text), [] as [usize; 0], "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            let risks = risky_statements(&text);
            let all = text.lines().count().max(1);
            prop_assert!(risks.iter().all(|risk| risk.line <= all + 1));
        }
    }
}
