//! Logs: what is written, where and how.

mod priority;

use std::{
    env, fmt,
    io::{self, IsTerminal},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing::{Dispatch, Event, Subscriber, dispatcher, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::{
        FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{self, Format, Full, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
    reload,
};

use crate::base::config::{Log, LogFormat};
use priority::WithPriorities;
pub use priority::{Priority, leads_to_journal, mark};

/// What is logged unless `RUST_LOG` says otherwise. `mainline` reports every period without a network as an error; the server
/// says so itself, once.
const USUAL: &str = "warn,pkdns=info,mainline=off";

/// The same with `--verbose`: adds one line for each query. `mainline` stays silent: nothing of it runs but the nodes of
/// `--testnet`, of which each would say that it has started.
const VERBOSE: &str = "warn,pkdns=debug,mainline=off";

/// Sends logs to stderr, from now until the process ends. `RUST_LOG` overrules `verbose`. Colours are for terminals
/// only, and `NO_COLOR` switches them off.
///
/// Panics are logged as errors on one line: a task that panics is a defect to report, and the server goes on.
pub fn start(settings: &Log, verbose: bool) -> Verbosity {
    let wanted = env::var("RUST_LOG").ok();
    let (filter, mistake) = filter(verbose, wanted.as_deref());
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let form = Form { format: settings.format, is_journal: leads_to_journal(), targets: verbose, colours };
    // Logs that were set up by whoever embeds this library stay as they are.
    let (subscriber, verbosity) = dispatch(filter, form, io::stderr);
    let _ = dispatcher::set_global_default(subscriber);
    let is_overruled = mistake.is_none() && wanted.is_some_and(|text| !text.trim().is_empty());
    panic::set_hook(Box::new(|panic| {
        tracing::error!("a task {}", panic.to_string().replace('\n', " "));
    }));
    if let Some(mistake) = mistake {
        tracing::warn!("RUST_LOG has no effect: {mistake}");
    }
    if is_overruled { Verbosity(Arc::new(|_| ())) } else { verbosity }
}

/// What is logged, while it is logged. Cheap to clone.
#[derive(Clone)]
pub struct Verbosity(Arc<dyn Fn(bool) + Send + Sync>);

impl Verbosity {
    /// As [`start`] takes it, from now on. Has no effect where `RUST_LOG` says what is logged.
    pub fn set(&self, verbose: bool) {
        (self.0)(verbose);
    }
}

impl fmt::Debug for Verbosity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verbosity")
    }
}

/// What lines look like.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: LogFormat,
    is_journal: bool,
    /// Whether each line says which part of the program wrote it.
    targets: bool,
    colours: bool,
}

fn filter(verbose: bool, wanted: Option<&str>) -> (EnvFilter, Option<ParseError>) {
    let usual = || EnvFilter::new(if verbose { VERBOSE } else { USUAL });
    match wanted.filter(|text| !text.trim().is_empty()) {
        None => (usual(), None),
        Some(text) => {
            let text = with_rooms(text);
            match EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).parse(text) {
                Ok(filter) => (filter, None),
                Err(mistake) => (usual(), Some(mistake)),
            }
        }
    }
}

/// Directives of `RUST_LOG` in which a part of the program has the name that it has in pkdns 0.1.0, without its room.
fn with_rooms(directives: &str) -> String {
    let with_room = |directive: &str| {
        let (blanks, directive) = directive.split_at(directive.len() - directive.trim_start().len());
        let Some(path) = directive.strip_prefix("pkdns::") else { return format!("{blanks}{directive}") };
        let end = path.find(|character: char| !character.is_alphanumeric() && character != '_');
        let room = match &path[..end.unwrap_or(path.len())] {
            "dht" => return format!("{blanks}pkdns_dht{}", &path["dht".len()..]),
            "server" | "testnet" => "program::",
            "transport" | "http" | "certificates" => "edge::",
            "packets" | "forward" | "relay_client" => "sources::",
            "config" | "message" | "metrics" => "base::",
            _ => "",
        };
        format!("{blanks}pkdns::{room}{path}")
    };
    directives.split(',').map(with_room).collect::<Vec<_>>().join(",")
}

fn dispatch<W>(filter: EnvFilter, form: Form, writer: W) -> (Dispatch, Verbosity)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let has_priorities = form.is_journal && form.format != LogFormat::Text;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(form.colours && !has_priorities)
        .with_writer(WithPriorities { writer, has_priorities })
        // A log that cannot be written to is no place to say so: that would be a panic, and one in the hook ends the process.
        .log_internal_errors(false);
    let targets = Arc::new(AtomicBool::new(form.targets));
    match form.format {
        LogFormat::Json => {
            let builder =
                subscriber.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let builder = builder.with_timer(Milliseconds).with_filter_reloading();
            let verbosity = verbosity(builder.reload_handle(), targets);
            (Dispatch::new(builder.finish()), verbosity)
        }
        LogFormat::Auto if form.is_journal => {
            let lines = Lines::new(|| format::format().without_time().with_level(false), &targets);
            let builder = subscriber.event_format(lines).with_filter_reloading();
            let verbosity = verbosity(builder.reload_handle(), targets);
            (Dispatch::new(builder.finish()), verbosity)
        }
        LogFormat::Auto | LogFormat::Text => {
            let lines = Lines::new(|| format::format().with_timer(Milliseconds), &targets);
            let builder = subscriber.event_format(lines).with_filter_reloading();
            let verbosity = verbosity(builder.reload_handle(), targets);
            (Dispatch::new(builder.finish()), verbosity)
        }
    }
}

/// `targets`: whether each line says which part of the program wrote it.
fn verbosity<S: 'static>(handle: reload::Handle<EnvFilter, S>, targets: Arc<AtomicBool>) -> Verbosity {
    let set = move |verbose| {
        targets.store(verbose, Ordering::Relaxed);
        // The subscriber lives as long as the process.
        drop(handle.reload(EnvFilter::new(if verbose { VERBOSE } else { USUAL })));
    };
    Verbosity(Arc::new(set))
}

/// Lines of text, with or without the part of the program that wrote them: as is wanted at that time.
struct Lines<T> {
    with_targets: Format<Full, T>,
    without: Format<Full, T>,
    targets: Arc<AtomicBool>,
}

impl<T> Lines<T> {
    fn new(format: impl Fn() -> Format<Full, T>, targets: &Arc<AtomicBool>) -> Self {
        Self {
            with_targets: format().with_target(true),
            without: format().with_target(false),
            targets: targets.clone(),
        }
    }
}

impl<S, N, T> FormatEvent<S, N> for Lines<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let has_targets = self.targets.load(Ordering::Relaxed);
        let format = if has_targets { &self.with_targets } else { &self.without };
        format.format_event(context, writer, event)
    }
}

/// UTC to the millisecond, as in RFC 3339.
struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let mut microseconds = String::new();
        SystemTime.format_time(&mut Writer::new(&mut microseconds))?;
        // 2026-11-21T07:48:16.123456Z
        write!(w, "{}Z", microseconds.get(..23).unwrap_or(&microseconds))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written when a little of everything happens.
    fn log(verbose: bool, wanted: Option<&str>, colours: bool) -> String {
        let form = Form { format: LogFormat::Auto, is_journal: false, targets: verbose, colours };
        log_as(form, filter(verbose, wanted).0)
    }

    fn log_as(form: Form, filter: EnvFilter) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        dispatcher::with_default(&dispatch(filter, form, move || writer.clone()).0, || {
            tracing::info!(target: "pkdns::server", "listening udp 127.0.0.1:5300");
            tracing::debug!(target: "pkdns::service", "a query");
            tracing::error!(target: "mainline::rpc", "could not bootstrap");
            tracing::info!(target: "hickory_proto", "chatter");
            tracing::warn!(target: "hickory_proto", "trouble");
        });
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_say_their_part_of_the_program_from_when_a_reload_wants_them_to() {
        for (is_journal, format) in
            [(false, LogFormat::Auto), (true, LogFormat::Auto), (true, LogFormat::Text)]
        {
            let form = Form { format, is_journal, targets: false, colours: false };
            let memory = Memory::default();
            let writer = memory.clone();
            let (dispatch, verbosity) = dispatch(filter(false, None).0, form, move || writer.clone());
            dispatcher::with_default(&dispatch, || {
                for verbose in [false, true, false] {
                    verbosity.set(verbose);
                    tracing::info!(target: "pkdns::server", "once");
                    tracing::debug!(target: "pkdns::service", "a query");
                }
            });
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), 4, "{text}");
            let with_target = lines.iter().map(|line| line.contains("pkdns::"));
            assert_eq!(with_target.collect::<Vec<_>>(), [false, true, true, false], "{text}");
        }
    }

    #[test]
    fn usually_queries_and_the_dht_library_are_not_logged() {
        let text = log(false, None, false);
        assert!(text.contains("listening udp 127.0.0.1:5300") && text.contains("trouble"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn verbose_logs_queries_and_nothing_of_the_nodes_of_a_testnet() {
        let text = log(true, None, false);
        assert!(text.contains("a query") && !text.contains("could not bootstrap"), "{text}");
        assert!(!text.contains("chatter"), "{text}");
    }

    #[test]
    fn rust_log_overrules_verbose() {
        assert!(log(false, Some("hickory_proto=info"), false).contains("chatter"));
        assert!(!log(true, Some("error"), false).contains("a query"));
        assert!(log(true, Some(" "), false).contains("a query"));
    }

    #[test]
    fn rust_log_may_call_the_parts_of_the_program_as_the_first_release_did() {
        assert_eq!(
            with_rooms(
                "warn, pkdns::forward=debug,pkdns::dht::engine[x]=info,pkdns::service=debug,hyper=info"
            ),
            "warn, pkdns::sources::forward=debug,pkdns_dht::engine[x]=info,pkdns::service=debug,hyper=info"
        );
        assert_eq!(with_rooms("pkdns::dht"), "pkdns_dht");
        assert_eq!(with_rooms("pkdns::edge::http=trace"), "pkdns::edge::http=trace");
    }

    #[test]
    fn a_mistake_in_rust_log_is_reported_and_changes_nothing() {
        let (_, mistake) = filter(false, Some("pkdns=loud"));
        assert!(mistake.is_some());
        assert_eq!(log(false, Some("pkdns=loud"), false).lines().count(), 2);
    }

    #[test]
    fn lines_are_short_utc_and_without_colour_codes() {
        let text = log(false, None, false);
        let line = text.lines().next().unwrap();
        let (time, rest) = line.split_at(24);
        assert!(time.ends_with('Z') && time.get(10..11) == Some("T"), "{line}");
        assert_eq!(rest, "  INFO listening udp 127.0.0.1:5300");
        assert!(log(false, None, true).contains('\u{1b}'));
    }

    #[test]
    fn the_journal_gets_priorities_in_place_of_times_levels_and_colours() {
        let form = Form { format: LogFormat::Auto, is_journal: true, targets: false, colours: true };
        let text = log_as(form, EnvFilter::new("trace"));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "<6>listening udp 127.0.0.1:5300",
                "<7>a query",
                "<3>could not bootstrap",
                "<6>chatter",
                "<4>trouble"
            ]
        );
        let text = log_as(Form { format: LogFormat::Text, ..form }, EnvFilter::new("warn"));
        assert!(text.contains("trouble") && !text.contains("<4>"), "{text}");
    }

    #[test]
    fn json_is_an_object_on_each_line_with_a_priority_where_the_journal_reads_it() {
        for (is_journal, before) in [(false, ""), (true, "<4>")] {
            let form = Form { format: LogFormat::Json, is_journal, targets: false, colours: true };
            let memory = Memory::default();
            let writer = memory.clone();
            let (dispatch, _) = dispatch(EnvFilter::new("info"), form, move || writer.clone());
            dispatcher::with_default(&dispatch, || {
                tracing::warn!(target: "pkdns::service", code = %"NOERROR", text = "two\nlines", "a \"query\"");
            });
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            let line = text.strip_prefix(before).unwrap().strip_suffix('\n').unwrap();
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |name| value[name].as_str().unwrap();
            assert_eq!((field("level"), field("message")), ("WARN", "a \"query\""));
            assert_eq!((field("target"), field("code")), ("pkdns::service", "NOERROR"));
            assert_eq!(field("text"), "two\nlines");
            assert!(field("timestamp").ends_with('Z'), "{line}");
        }
    }

    #[test]
    fn verbosity_changes_in_every_form() {
        for (format, is_journal) in [
            (LogFormat::Auto, false),
            (LogFormat::Auto, true),
            (LogFormat::Text, true),
            (LogFormat::Json, false),
            (LogFormat::Json, true),
        ] {
            let form = Form { format, is_journal, targets: false, colours: false };
            let memory = Memory::default();
            let writer = memory.clone();
            let (dispatch, verbosity) = dispatch(filter(false, None).0, form, move || writer.clone());
            dispatcher::with_default(&dispatch, || {
                for (verbose, query) in [(false, "one"), (true, "two"), (false, "three")] {
                    verbosity.set(verbose);
                    tracing::debug!(target: "pkdns::service", query);
                }
            });
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            assert!(text.contains("two") && text.lines().count() == 1, "{form:?}: {text}");
        }
    }
}
