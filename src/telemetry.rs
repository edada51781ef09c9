//! Logs: one line per event on stderr, as text or JSON, with the values of known secrets struck out.
//!
//! Nothing in the keeper logs a secret on purpose; [`Redactor`] is the second net, for a library's error that quotes
//! what it was given. Under journald the lines carry a priority and no time, since the journal has its own.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, RwLock},
};

use secrecy::{ExposeSecret, SecretString};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Full, Writer},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
};

/// Shorter secrets are not struck out: `k` or `1234` would tear holes into every other word, and guards nothing.
const SHORTEST_SECRET: usize = 6;

/// The scheduler's log target.
const SCHEDULER: &str = "tokio_cron_scheduler";

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("the log level `{level}` is not a filter")]
    Level {
        /// As given.
        level: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else logs already.
    #[error("logging has begun already")]
    Begun(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, with colours on a terminal.
    Text {
        /// Whether colours are wanted.
        colours: bool,
    },
    /// For journald: a priority in front, no time.
    Journal,
    /// One JSON object per line.
    Json,
}

impl Form {
    /// What suits stderr: JSON if asked for, journald's form where stderr is its stream, colours on a terminal unless
    /// `NO_COLOR` is set (no-color.org).
    #[must_use]
    pub fn of_stderr(json: bool, environment: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        if json {
            Self::Json
        } else if set("JOURNAL_STREAM") && !io::stderr().is_terminal() {
            Self::Journal
        } else {
            Self::Text { colours: io::stderr().is_terminal() && !set("NO_COLOR") }
        }
    }
}

/// Begins logging for the whole process; panics are logged too.
///
/// # Errors
/// A filter that does not parse, or a second beginning.
pub fn begin(level: &str, form: Form, redactor: &Redactor) -> Result<(), TelemetryError> {
    let subscriber = subscriber(level, form, Redacting { redactor: redactor.clone(), inner: io::stderr })?;
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::Begun)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
        tracing::error!(place, message, "panic: this is a bug in the keeper");
    }));
    Ok(())
}

fn subscriber<W>(level: &str, form: Form, writer: W) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter: Targets = level
        .parse()
        .map_err(|source| TelemetryError::Level { level: level.chars().take(64).collect(), source })?;
    // Its information is about its own construction, not about anybody's work.
    if !level.contains(SCHEDULER) {
        filter = filter.with_target(SCHEDULER, Level::WARN);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match form {
        Form::Text { colours } => lines.with_ansi(colours).with_target(false).boxed(),
        Form::Journal => {
            let format = Prioritised(Format::default().without_time().with_ansi(false).with_target(false));
            lines.with_ansi(false).event_format(format).boxed()
        }
        Form::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(filter)))
}

/// Puts journald's priority (sd-daemon(3)) before each event.
struct Prioritised(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}

/// Strikes known secrets out of text. Copies share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Each in the forms it may take in a line, the longest first, so that none leaves a rest of another.
    known: Arc<RwLock<Vec<String>>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(***)")
    }
}

impl Redactor {
    /// Replaces the secrets it knows, at the start and on every reload.
    pub fn learn(&self, secrets: &[SecretString]) {
        let mut known = Vec::new();
        for secret in secrets.iter().map(ExposeSecret::expose_secret) {
            if secret.len() < SHORTEST_SECRET {
                continue;
            }
            let debug = within_quotes(&format!("{secret:?}"));
            let json = |text: &str| within_quotes(&serde_json::Value::from(text).to_string());
            known.extend([json(&debug), json(secret), debug, secret.to_string()]);
        }
        known.sort_by(|one, two| two.len().cmp(&one.len()).then_with(|| one.cmp(two)));
        known.dedup();
        // Nothing under this lock can panic, so a poisoned one still holds a whole list.
        *self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner) = known;
    }

    /// The text with `***` in place of each known secret.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        known
            .iter()
            .filter(|secret| text.contains(*secret))
            .fold(Cow::Borrowed(text), |text, secret| Cow::Owned(text.replace(secret.as_str(), "***")))
    }
}

fn within_quotes(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(quoted).to_string()
}

/// A writer maker whose writers redact.
struct Redacting<M> {
    redactor: Redactor,
    inner: M,
}

struct RedactingWriter<W> {
    redactor: Redactor,
    inner: W,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Redacting<M> {
    type Writer = RedactingWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactingWriter { redactor: self.redactor.clone(), inner: self.inner.make_writer() }
    }
}

/// The formatter hands over each event whole, in one write, so no secret is cut in two.
impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.inner.write_all(self.redactor.redact(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, form: Form, secrets: &[&str], tell: impl FnOnce()) -> String {
        let sink = Sink::default();
        let redactor = Redactor::default();
        redactor.learn(&secrets.iter().map(|secret| SecretString::from(*secret)).collect::<Vec<_>>());
        let made = sink.clone();
        let writer = Redacting { redactor, inner: move || made.clone() };
        tracing::subscriber::with_default(subscriber(level, form, writer).unwrap(), tell);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_secret_is_struck_out_in_every_form_it_takes() {
        let odd = "canary \"quoted\"\\ and\nbroken";
        for form in [Form::Text { colours: false }, Form::Journal, Form::Json] {
            let text = logged("info", form, &["canary-7f3a", odd], || {
                tracing::info!(url = "https://example.org/canary-7f3a/x", debug = ?odd, shown = %odd, "told");
            });
            assert!(!text.contains("canary"), "{form:?}: {text}");
            assert!(text.contains("example.org/***/x"), "{form:?}: {text}");
        }
    }

    #[test]
    fn one_secret_within_another_leaves_no_rest() {
        let redactor = Redactor::default();
        redactor.learn(&["secret".into(), "secret-and-more".into(), "k".into()]);
        assert_eq!(redactor.redact("keep secret-and-more, secret"), "keep ***, ***");
        redactor.learn(&[]);
        assert_eq!(redactor.redact("secret"), "secret", "what is no longer in use may be shown");
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let text = logged("warn,vast_keeper=debug", Form::Journal, &[], || {
            tracing::error!(node = "duel-0", "held");
            tracing::debug!("why not");
        });
        assert_eq!(text, "<3>ERROR held node=\"duel-0\"\n<7>DEBUG why not\n");
    }

    #[test]
    fn json_lines_are_objects_with_their_fields_on_top() {
        let text = logged("info", Form::Json, &[], || tracing::info!(node = "duel-0", "healed"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["node"], "duel-0");
        assert_eq!(line["message"], "healed");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_level_that_is_no_filter_is_refused() {
        let error = begin("loud=very", Form::Json, &Redactor::default()).unwrap_err();
        assert_eq!(error.to_string(), "the log level `loud=very` is not a filter");
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let environment = BTreeMap::from([("JOURNAL_STREAM".to_string(), "8:1".to_string())]);
        assert_eq!(Form::of_stderr(true, &environment), Form::Json);
        if !io::stderr().is_terminal() {
            assert_eq!(Form::of_stderr(false, &environment), Form::Journal);
            assert_eq!(Form::of_stderr(false, &BTreeMap::new()), Form::Text { colours: false });
        }
    }
}
