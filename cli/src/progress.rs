//! Progress on stderr: bars on a terminal, a line per event elsewhere.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use lore_datasets::progress::{Progress, Silent, Task, Unit};

use crate::quantity;

/// A task that lasts this long gets a line when it starts to last.
const FIRST_LINE: Duration = Duration::from_secs(1);
/// And then one every so often.
const NEXT_LINES: Duration = Duration::from_secs(30);

/// Reports to the person who started the program.
pub enum Console {
    /// Bars with rate and time left.
    Bars(MultiProgress),
    /// One line per event.
    Lines,
    /// Nothing.
    Quiet,
}

impl Console {
    /// Bars if stderr is a terminal, else lines.
    pub fn new(quiet: bool) -> Self {
        if quiet {
            Self::Quiet
        } else if std::io::stderr().is_terminal() {
            Self::Bars(MultiProgress::new())
        } else {
            Self::Lines
        }
    }
}

impl Progress for Console {
    fn task(&self, label: &str, total: Option<u64>, unit: Unit) -> Box<dyn Task> {
        match self {
            Self::Bars(bars) => Box::new(BarTask::new(bars, label, total, unit)),
            Self::Lines => Box::new(LineTask::new(label, total, unit)),
            Self::Quiet => Silent.task(label, total, unit),
        }
    }

    fn note(&self, message: &str) {
        match self {
            Self::Bars(bars) => bars.suspend(|| eprintln!("{message}")),
            Self::Lines => eprintln!("{message}"),
            Self::Quiet => {}
        }
    }
}

fn amount(count: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => quantity::bytes(count),
        Unit::Tokens => format!("{} tokens", quantity::count(count)),
        Unit::Steps => format!("{count} steps"),
        Unit::Documents => format!("{count} documents"),
        Unit::Items => count.to_string(),
    }
}

fn rate(per_second: f64, unit: Unit) -> String {
    if per_second < 10.0 && unit != Unit::Bytes {
        return format!("{per_second:.2}/s");
    }
    format!("{}/s", amount(per_second as u64, unit))
}

/// `1.2 MB of 3.4 MB, 0.6 MB/s, 4s left`.
fn state(done: u64, total: Option<u64>, elapsed: Duration, unit: Unit) -> String {
    let mut text = amount(done, unit);
    if let Some(total) = total {
        text = format!("{text} of {}", amount(total, unit));
    }
    let per_second = done as f64 / elapsed.as_secs_f64().max(1e-3);
    if done > 0 {
        text = format!("{text}, {}", rate(per_second, unit));
        if let Some(left) = total.and_then(|total| total.checked_sub(done))
            && let Ok(left) = Duration::try_from_secs_f64(left as f64 / per_second)
        {
            text = format!("{text}, {} left", quantity::duration(left));
        }
    }
    text
}

/// What a finished task says: label, summary or amount, rate, time.
fn closing(label: &str, summary: &str, done: u64, elapsed: Duration, unit: Unit) -> String {
    let mut text = format!("{label}: ");
    if summary.is_empty() {
        text.push_str(if done > 0 { "" } else { "done" });
        if done > 0 {
            text.push_str(&amount(done, unit));
        }
    } else {
        text.push_str(summary);
    }
    if done > 0 && elapsed > FIRST_LINE {
        text = format!("{text}, {}", rate(done as f64 / elapsed.as_secs_f64(), unit));
    }
    format!("{text} ({})", quantity::duration(elapsed))
}

struct BarTask {
    bars: MultiProgress,
    bar: ProgressBar,
    label: String,
    unit: Unit,
    finished: bool,
}

impl BarTask {
    fn new(bars: &MultiProgress, label: &str, total: Option<u64>, unit: Unit) -> Self {
        let bar = bars.add(match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        });
        let template = match total {
            Some(_) => "{prefix} {bar:24} {state} {msg}",
            None => "{prefix} {spinner} {state} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are valid").with_key(
            "state",
            move |now: &ProgressState, out: &mut dyn std::fmt::Write| {
                // A failed write shows as a missing remark; there is nowhere to report it.
                let _ = out.write_str(&state(now.pos(), now.len().filter(|_| total.is_some()), now.elapsed(), unit));
            },
        );
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bars: bars.clone(), bar, label: label.into(), unit, finished: false }
    }
}

impl Task for BarTask {
    fn advance(&mut self, by: u64) {
        self.bar.inc(by);
    }

    fn message(&mut self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    fn finish(mut self: Box<Self>, summary: &str) {
        self.finished = true;
        let line = closing(&self.label, summary, self.bar.position(), self.bar.elapsed(), self.unit);
        self.bar.finish_and_clear();
        self.bars.suspend(|| eprintln!("{line}"));
    }
}

impl Drop for BarTask {
    fn drop(&mut self) {
        if !self.finished {
            self.bar.abandon();
        }
    }
}

enum Event {
    Advance(u64),
    Message(String),
    Finish(String),
}

/// Its lines come from a thread, so that work that never advances is not silent either.
struct LineTask {
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
}

impl LineTask {
    fn new(label: &str, total: Option<u64>, unit: Unit) -> Self {
        let (events, receiver) = channel();
        let label = label.to_owned();
        let thread = std::thread::spawn(move || {
            follow(&receiver, &label, total, unit, [FIRST_LINE, NEXT_LINES], &mut |line| eprintln!("{line}"));
        });
        Self { events, thread: Some(thread) }
    }

    fn send(&self, event: Event) {
        // The thread only ends before the task does if printing failed, as with a closed pipe.
        let _ = self.events.send(event);
    }
}

/// Turns events into lines until the task finishes or is dropped.
fn follow(
    events: &Receiver<Event>,
    label: &str,
    total: Option<u64>,
    unit: Unit,
    [first, next]: [Duration; 2],
    print: &mut dyn FnMut(String),
) {
    let start = Instant::now();
    let mut due = start + first;
    let (mut done, mut remark, mut begun) = (0, String::new(), false);
    loop {
        match events.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Event::Advance(by)) => done += by,
            Ok(Event::Message(text)) => remark = text,
            Ok(Event::Finish(summary)) => {
                print(closing(label, &summary, done, start.elapsed(), unit));
                return;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                print(format!("{label}: stopped after {}", state(done, total, start.elapsed(), unit)));
                return;
            }
        }
        if Instant::now() >= due {
            let mut line = format!("{label}: ");
            if !begun && done == 0 {
                line.push_str("started");
                if let Some(total) = total {
                    line = format!("{line}, {}", amount(total, unit));
                }
            } else {
                line.push_str(&state(done, total, start.elapsed(), unit));
            }
            if !remark.is_empty() {
                line = format!("{line}, {remark}");
            }
            print(line);
            begun = true;
            due = Instant::now() + next;
        }
    }
}

impl Task for LineTask {
    fn advance(&mut self, by: u64) {
        self.send(Event::Advance(by));
    }

    fn message(&mut self, text: &str) {
        self.send(Event::Message(text.into()));
    }

    fn finish(self: Box<Self>, summary: &str) {
        self.send(Event::Finish(summary.into()));
    }
}

impl Drop for LineTask {
    fn drop(&mut self) {
        let (closed, _) = channel();
        self.events = closed;
        if let Some(thread) = self.thread.take() {
            // It fails only if printing did.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_state_tells_rate_and_time_left() {
        let text = state(2_000_000, Some(6_000_000), Duration::from_secs(2), Unit::Bytes);
        assert_eq!(text, "2.0 MB of 6.0 MB, 1.0 MB/s, 4s left");
        assert_eq!(state(0, None, Duration::ZERO, Unit::Items), "0");
        assert_eq!(state(5, Some(10), Duration::from_secs(10), Unit::Steps), "5 steps of 10 steps, 0.50/s, 10s left");
    }

    #[test]
    fn a_finished_task_says_so_in_one_line() {
        let (sender, receiver) = channel();
        sender.send(Event::Advance(3)).unwrap();
        sender.send(Event::Finish("3 files".into())).unwrap();
        let mut lines = Vec::new();
        let far = Duration::from_secs(3600);
        follow(&receiver, "fetch", None, Unit::Items, [far, far], &mut |line| lines.push(line));
        assert_eq!(lines, ["fetch: 3 files (0.0s)"]);
    }

    #[test]
    fn work_that_never_advances_is_not_silent() {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            let mut lines = Vec::new();
            let short = [Duration::from_millis(20), Duration::from_millis(20)];
            follow(&receiver, "load", Some(7), Unit::Steps, short, &mut |line| lines.push(line));
            lines
        });
        std::thread::sleep(Duration::from_millis(200));
        drop(sender);
        let lines = thread.join().unwrap();
        assert_eq!(lines[0], "load: started, 7 steps");
        assert!(lines.len() > 2, "{lines:?}");
        assert!(lines.last().unwrap().starts_with("load: stopped after 0 steps of 7 steps"));
    }
}
