//! Says what to do about provider errors: paste what production said.
//!
//! ```text
//! echo '{"status": 429, "headers": {"retry-after": "7"}, "provider_hint": "openai"}' | cargo run --example classify
//! ```
//!
//! One JSON object a line on standard input, all fields optional: `input` (the error's text), `status`, `headers`, `body`,
//! `provider_hint` (the provider as configured) and `cause` (see `report.rs`). Header values may say
//! `@http_date(now+3s)` and `@rfc3339(now+3s)`. For each line one verdict on standard output, in the same order; `kind` is
//! `null` where there was no error. A line that cannot be read gets an `error` that says why, and the exit code is 1.

mod report;

use std::io::{BufRead, Write};
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut code = ExitCode::SUCCESS;
    for (at, line) in input.split(b'\n').enumerate() {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if line.trim().is_empty() {
            continue;
        }
        let now = report::now();
        let verdict = serde_json::from_str::<report::Report>(&line).map(|report| report.verdict(now));
        let said = match verdict {
            Ok(verdict) => report::Line::from(verdict.as_ref()).to_string(),
            Err(error) => {
                code = ExitCode::FAILURE;
                serde_json::json!({ "error": format!("line {}: {error}", at + 1) }).to_string()
            }
        };
        writeln!(output, "{said}")?;
        output.flush()?;
    }
    Ok(code)
}
