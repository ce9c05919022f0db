//! The tables in `docs/metrics.md` are the code's. `GOLDEN=write cargo test -p chatwright-loop --test document` writes them.

use std::fmt::Write as _;
use std::path::PathBuf;

use chatwright_loop::gen_ai::SPANS;
use chatwright_loop::metrics::{
    FIRST_TOKEN_SECONDS, MESSAGES, PROMPT_BYTES, RESULT_BYTES, SERIES, SHARES, STAGE_SECONDS, SeriesKind,
    TURN_SECONDS,
};

const BEGIN: &str = "<!-- The tables are written by a test of chatwright-loop. -->\n";
const END: &str = "<!-- Here they end. -->\n";

const BUCKETS: [(&str, &[f64]); 7] = [
    ("MESSAGES", MESSAGES),
    ("PROMPT_BYTES", PROMPT_BYTES),
    ("RESULT_BYTES", RESULT_BYTES),
    ("FIRST_TOKEN_SECONDS", FIRST_TOKEN_SECONDS),
    ("STAGE_SECONDS", STAGE_SECONDS),
    ("TURN_SECONDS", TURN_SECONDS),
    ("SHARES", SHARES),
];

fn tables() -> String {
    let mut text = String::new();
    let line = |text: &mut String, words: &str| writeln!(text, "{words}").expect("text grows");
    line(
        &mut text,
        "\n## Series\n\n| series | type | labels | unit | buckets | meaning |\n|---|---|---|---|---|---|",
    );
    for series in SERIES {
        let kind = match series.kind {
            SeriesKind::Counter => "counter",
            SeriesKind::Gauge => "gauge",
            SeriesKind::Histogram => "histogram",
        };
        let labels: Vec<String> = series.labels.iter().map(|label| format!("`{label}`")).collect();
        let buckets = BUCKETS.iter().find(|(_, buckets)| *buckets == series.buckets);
        assert_eq!(buckets.is_some(), series.kind == SeriesKind::Histogram, "{}", series.name);
        let buckets = buckets.map_or(String::new(), |(name, _)| format!("`{name}`"));
        let (name, unit, meaning) = (series.name, series.unit.as_str(), series.meaning);
        line(
            &mut text,
            &format!("| `{name}` | {kind} | {} | {unit} | {buckets} | {meaning} |", labels.join(" ")),
        );
    }
    line(&mut text, "\n## Buckets\n\n| constant | bounds |\n|---|---|");
    for (name, bounds) in BUCKETS {
        let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
        line(&mut text, &format!("| `{name}` | {} |", bounds.join(" ")));
    }
    line(&mut text, "\n## Spans\n\n| span | level | fields | meaning |\n|---|---|---|---|");
    for span in SPANS {
        let fields: Vec<String> = span.fields.iter().map(|field| format!("`{field}`")).collect();
        line(
            &mut text,
            &format!("| `{}` | {} | {} | {} |", span.name, span.level, fields.join(" "), span.meaning),
        );
    }
    text.push('\n');
    text
}

#[test]
fn the_documented_series_and_spans_are_those_of_the_code() {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "docs", "metrics.md"].iter().collect();
    let file = std::fs::read_to_string(&path).expect("the document is there");
    let (before, rest) = file.split_once(BEGIN).expect("it has a place for the tables");
    let (written, after) = rest.split_once(END).expect("the tables end");
    if std::env::var("GOLDEN").is_ok_and(|word| word == "write") {
        let file = format!("{before}{BEGIN}{}{END}{after}", tables());
        std::fs::write(&path, file).expect("the document can be written");
        return;
    }
    assert!(written == tables(), "docs/metrics.md has other tables: write them with GOLDEN=write");
}
