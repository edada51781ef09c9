//! The only place that writes to stdout and stderr.

use std::io::{self, BufRead, IsTerminal, Write};

/// Data. A reader that went away, such as `head`, is no fault.
pub fn data(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Data as pretty JSON.
pub fn json<T: serde::Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(&text),
        Err(fault) => talk(&format!("error: the answer cannot be written as json: {fault}")),
    }
}

/// Talk.
pub fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether stdout may be coloured (<https://no-color.org>).
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Whether somebody can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question on the terminal; only `y` or `yes` is one.
pub fn confirmed(question: &str) -> bool {
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Paints a word where colours are wanted.
pub fn paint(text: &str, colour: Colour) -> String {
    if !colours() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Good => "32",
        Colour::Bad => "31",
        Colour::Odd => "33",
        Colour::Soft => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// What a colour means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Good,
    /// Something is broken.
    Bad,
    /// Something is under way or odd.
    Odd,
    /// Less important.
    Soft,
}
