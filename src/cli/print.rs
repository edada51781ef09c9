//! The only place that writes to stdout and stderr.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exit::{self, Failure};

/// Whether data got out. An answer that nobody could read must not look like success.
pub type Printed = Result<(), Failure>;

/// Data.
///
/// # Errors
/// A reader that went away, such as `head`, ends the command quietly; a full disk is a failure.
pub fn data(text: &str) -> Printed {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(unwritten)
}

/// Data as pretty JSON.
///
/// # Errors
/// As [`data`].
pub fn json<T: serde::Serialize>(value: &T) -> Printed {
    let text = serde_json::to_string_pretty(value).map_err(|fault| unwritten(fault.into()))?;
    data(&text)
}

fn unwritten(fault: io::Error) -> Failure {
    match fault.kind() {
        io::ErrorKind::BrokenPipe => Failure::unheard(),
        _ => Failure::new(exit::BUG, format!("the answer cannot be written to stdout: {fault}")),
    }
}

/// Fails once whoever read the data has gone, which a command with nothing to say would not notice otherwise.
///
/// # Errors
/// The same as of [`data`] for a reader that went away.
pub fn heard() -> Printed {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    // Linux reports a pipe or socket without a reader as an error condition (poll(2)).
    let gone = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
        && watched.iter().any(|stdout| stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP));
    if gone { Err(Failure::unheard()) } else { Ok(()) }
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

/// Asks for a word on the terminal; only exactly that one counts.
pub fn typed(question: &str, word: &str) -> bool {
    let _ = write!(io::stderr().lock(), "{question}: ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == word
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
