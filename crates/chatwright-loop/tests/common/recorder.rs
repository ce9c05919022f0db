//! A recorder of metrics and a collector of spans that a test reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chatwright_loop::metrics::{SERIES, Series, SeriesKind};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// Keeps every value of every series, and takes none that is not documented so.
#[derive(Default)]
pub struct Values {
    series: Mutex<BTreeMap<(String, Labels), Arc<Value>>>,
    pub described: Mutex<BTreeMap<String, Described>>,
}

type Labels = Vec<(String, String)>;

/// What is said of a series.
type Described = (SeriesKind, Option<Unit>, String);

#[derive(Default)]
pub struct Value {
    kept: Mutex<Vec<f64>>,
}

impl Values {
    /// What was recorded of a series, by the values of its labels.
    pub fn of(&self, name: &str) -> BTreeMap<Vec<String>, Vec<f64>> {
        let series = self.series.lock();
        let of = series.iter().filter(|((series, _), _)| series == name);
        let values = |labels: &Labels| labels.iter().map(|(_, value)| value.clone()).collect();
        of.map(|((_, labels), value)| (values(labels), value.kept.lock().clone())).collect()
    }

    /// The sum of a series by the values of its labels.
    pub fn sums(&self, name: &str) -> BTreeMap<Vec<String>, f64> {
        self.of(name).into_iter().map(|(labels, values)| (labels, values.iter().sum())).collect()
    }

    /// The sum of everything of a series.
    pub fn sum(&self, name: &str) -> f64 {
        self.sums(name).values().sum()
    }

    /// Everything, as text.
    pub fn text(&self) -> String {
        let series = self.series.lock();
        series.iter().map(|(key, value)| format!("{key:?} {:?}\n", value.kept.lock())).collect()
    }

    fn value(&self, key: &Key, kind: SeriesKind) -> Arc<Value> {
        let documented = |series: &&Series| series.name == key.name();
        let series = SERIES.iter().find(documented);
        let series = series.unwrap_or_else(|| panic!("{} is not documented", key.name()));
        let names: Vec<&str> = key.labels().map(metrics::Label::key).collect();
        assert_eq!((series.kind, series.labels), (kind, &names[..]), "{}", key.name());
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
        let key = (key.name().to_owned(), labels.collect());
        Arc::clone(self.series.lock().entry(key).or_default())
    }

    fn describe(&self, key: &KeyName, kind: SeriesKind, unit: Option<Unit>, words: &SharedString) {
        let described = (kind, unit, words.to_string());
        self.described.lock().insert(key.as_str().to_owned(), described);
    }
}

impl Recorder for Values {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, words: SharedString) {
        self.describe(&key, SeriesKind::Counter, unit, &words);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, words: SharedString) {
        self.describe(&key, SeriesKind::Gauge, unit, &words);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, words: SharedString) {
        self.describe(&key, SeriesKind::Histogram, unit, &words);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key, SeriesKind::Counter))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key, SeriesKind::Gauge))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.value(key, SeriesKind::Histogram))
    }
}

impl CounterFn for Value {
    fn increment(&self, by: u64) {
        self.kept.lock().push(by as f64);
    }

    fn absolute(&self, value: u64) {
        *self.kept.lock() = vec![value as f64];
    }
}

impl GaugeFn for Value {
    fn increment(&self, by: f64) {
        self.kept.lock().push(by);
    }

    fn decrement(&self, by: f64) {
        self.kept.lock().push(-by);
    }

    fn set(&self, value: f64) {
        *self.kept.lock() = vec![value];
    }
}

impl HistogramFn for Value {
    fn record(&self, value: f64) {
        self.kept.lock().push(value);
    }
}

/// A span of the loop.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub name: &'static str,
    pub level: String,
    pub parent: Option<u64>,
    /// The fields that it declares.
    pub declared: BTreeSet<&'static str>,
    pub fields: BTreeMap<&'static str, String>,
    pub is_closed: bool,
}

/// Keeps every span.
#[derive(Clone, Default)]
pub struct Spans {
    pub seen: Arc<Mutex<BTreeMap<u64, Seen>>>,
    clones: Arc<Mutex<BTreeMap<u64, usize>>>,
    last: Arc<AtomicU64>,
}

impl Spans {
    pub fn named(&self, name: &str) -> Vec<Seen> {
        self.seen.lock().values().filter(|seen| seen.name == name).cloned().collect()
    }

    /// The names from a span up to its root.
    pub fn path(&self, seen: &Seen) -> Vec<&'static str> {
        let (all, mut path, mut parent) = (self.seen.lock(), vec![seen.name], seen.parent);
        while let Some(above) = parent.and_then(|id| all.get(&id)) {
            path.push(above.name);
            parent = above.parent;
        }
        path
    }
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("chatwright_loop")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        let metadata = attributes.metadata();
        let mut seen = Seen {
            name: metadata.name(),
            level: metadata.level().to_string(),
            parent: attributes.parent().map(Id::into_u64),
            declared: metadata.fields().iter().map(|field| field.name()).collect(),
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields));
        self.seen.lock().insert(id, seen);
        self.clones.lock().insert(id, 1);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if let Some(seen) = self.seen.lock().get_mut(&span.into_u64()) {
            values.record(&mut Fields(&mut seen.fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn clone_span(&self, id: &Id) -> Id {
        *self.clones.lock().entry(id.into_u64()).or_default() += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut clones = self.clones.lock();
        let left = clones.entry(id.into_u64()).or_insert(1);
        *left -= 1;
        if *left == 0
            && let Some(seen) = self.seen.lock().get_mut(&id.into_u64())
        {
            seen.is_closed = true;
        }
        *left == 0
    }
}
