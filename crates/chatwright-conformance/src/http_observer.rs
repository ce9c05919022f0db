//! The promises of [`HttpObserver`].
//!
//! The subject is an [`HttpObserverRig`]: an observer, and what it has kept of what it was told.
#![expect(unused_qualifications, reason = "the exported macro needs the path from outside")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chatwright_core::error::{Cause, Failure};
use chatwright_core::port::{HttpEnd, HttpHeader, HttpObserver, HttpRequest, HttpResponse};
use tokio::time::Instant;

use crate::Subject;
use crate::clause::clauses;
use crate::wait::{on_threads, within};

/// An observer, and what it keeps.
#[async_trait]
pub trait HttpObserverRig: Send + Sync + 'static {
    /// The observer.
    fn observer(&self) -> Arc<dyn HttpObserver>;

    /// Everything that it has kept of exchanges that ended, as text: what is in its store, its logs, its debug output.
    async fn kept(&self) -> String;
}

clauses! {
    ($) http_observer in http_observer: chatwright_conformance::http_observer::HttpObserverRig;
    "http.H1" h1_it_and_its_exchanges_return_at_once_on_every_thread,
    "http.H2" h2_they_take_every_exchange_without_a_panic,
    "http.H3" h3_a_sensitive_header_is_kept_nowhere,
}

const SECRET: &str = "sk-kit-0123456789abcdef";

/// What can happen to an exchange.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// It is dropped before an answer comes, and never ended.
    Dropped,
    /// No connection is made.
    Refused,
    /// It is answered with so many pieces of a body, and ends so.
    Answered { status: u16, pieces: usize, abandoned: bool },
}

const COURSES: [Course; 5] = [
    Course::Dropped,
    Course::Refused,
    Course::Answered { status: 200, pieces: 0, abandoned: false },
    Course::Answered { status: 200, pieces: 200, abandoned: true },
    Course::Answered { status: 500, pieces: 1, abandoned: false },
];

fn header(name: &str, value: &str, sensitive: bool) -> HttpHeader {
    HttpHeader { name: name.into(), value: value.into(), sensitive }
}

/// Tells one exchange, in which the server sends the key back.
fn tell(observer: &dyn HttpObserver, course: Course) {
    let sent = [header("content-type", "application/json", false), header("authorization", SECRET, true)];
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"é\"}]}";
    let url = "https://provider.example/v1/chat/completions";
    let request = HttpRequest { method: "POST", url, headers: &sent, body };
    let mut exchange = observer.request(&request);
    match course {
        Course::Dropped => drop(exchange),
        Course::Refused => exchange.end(HttpEnd::Failed(&Failure::new("kit", Cause::Connect))),
        Course::Answered { status, pieces, abandoned } => {
            let headers = [header("x-request-id", "r1", false), header("x-echo", SECRET, false)];
            exchange.response(&HttpResponse { status, headers: &headers });
            let echo = format!("data: {{\"key\":\"{SECRET}\"}}\n\n");
            for number in 0..pieces {
                // Cut anywhere, also inside the key, and sometimes no text at all.
                let (one, other) = echo.as_bytes().split_at(number % echo.len());
                exchange.body(one);
                exchange.body(other);
                exchange.body(&[0xff, 0x00]);
            }
            exchange.end(if abandoned { HttpEnd::Abandoned } else { HttpEnd::Complete });
        }
    }
}

async fn h1_it_and_its_exchanges_return_at_once_on_every_thread(subject: &Subject<dyn HttpObserverRig>) {
    const CLAUSE: &str = "http.H1";
    /// For all exchanges of a thread together, about 60,000 calls.
    const MOST: Duration = Duration::from_secs(2);
    let observer = subject.connect().await.observer();
    let work = |_| {
        let observer = Arc::clone(&observer);
        Box::new(move || {
            let started = Instant::now();
            for told in 1..=100 {
                COURSES.iter().for_each(|&course| tell(&*observer, course));
                let took = started.elapsed();
                assert!(
                    took < MOST,
                    "{CLAUSE}: {told} rounds of exchanges take {took:?} on one of four threads"
                );
            }
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads(CLAUSE, (0..4).map(work));
}

async fn h2_they_take_every_exchange_without_a_panic(subject: &Subject<dyn HttpObserverRig>) {
    const CLAUSE: &str = "http.H2";
    let observer = subject.connect().await.observer();
    let work = |_| {
        let observer = Arc::clone(&observer);
        Box::new(move || {
            for course in COURSES {
                let told = catch_unwind(AssertUnwindSafe(|| tell(&*observer, course)));
                assert!(told.is_ok(), "{CLAUSE}: it panics at {course:?}");
            }
        }) as Box<dyn FnOnce() + Send>
    };
    on_threads(CLAUSE, (0..4).map(work));
}

async fn h3_a_sensitive_header_is_kept_nowhere(subject: &Subject<dyn HttpObserverRig>) {
    const CLAUSE: &str = "http.H3";
    let rig = subject.connect().await;
    for course in COURSES {
        tell(&*rig.observer(), course);
        let kept = within(CLAUSE, "what it kept", rig.kept()).await;
        assert!(
            !kept.contains(SECRET),
            "{CLAUSE}: after {course:?} it keeps the key that was sent, or sent back"
        );
    }
}
