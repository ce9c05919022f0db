//! How long a provider asks to wait.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use regex::Regex;

use crate::RETRY_AFTER_MAX;
use crate::failure::Headers;

/// A wait of so many seconds, cut to the longest that is believed. `None` unless it is a number above zero.
pub(crate) fn from_seconds(seconds: f64) -> Option<Duration> {
    let valid = seconds.is_finite() && seconds > 0.0;
    let cut = || Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX).min(RETRY_AFTER_MAX);
    valid.then(cut).filter(|wait| !wait.is_zero())
}

/// Seconds as a bare number, or a duration with units.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(number) => from_seconds(number),
        Err(_) => duration(text.trim()),
    }
}

/// A duration with units as in `1h2m3.5s`, `20ms`, `45.8s`, `2 minutes`.
fn duration(text: &str) -> Option<Duration> {
    let mut sum = 0.0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        sum += number * unit(&rest[..letters])?;
        rest = rest[letters..].trim_start();
    }
    from_seconds(sum)
}

fn unit(name: &str) -> Option<f64> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" | "msec" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// What `retry-after-ms` and `retry-after` ask for; milliseconds win where they are valid.
///
/// `retry-after` is RFC 9110, section 10.2.3, with fractions of seconds allowed.
pub(crate) fn explicit(headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
    let millis =
        headers.all("retry-after-ms").filter_map(|value| from_seconds(value.parse::<f64>().ok()? / 1e3));
    let other = headers.all("retry-after").filter_map(|value| match value.parse() {
        Ok(number) => from_seconds(number),
        Err(_) => until(httpdate::parse_http_date(value).ok()?, headers, now),
    });
    millis.max().or_else(|| other.max())
}

/// When the limits that were hit are reset, by the headers that tell it: those whose `remaining` is zero, otherwise those
/// that do not say what remains.
pub(crate) fn resets(headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
    let mut waits = [None, None];
    for (name, value) in headers.iter() {
        let name = name.to_ascii_lowercase();
        let remaining = match name.as_str() {
            "x-ratelimit-reset" | "ratelimit-reset" => name.replace("reset", "remaining"),
            _ if name.starts_with("x-ratelimit-reset-") => name.replacen("reset", "remaining", 1),
            _ if name.starts_with("anthropic-ratelimit-") && name.ends_with("-reset") => {
                name.replacen("-reset", "-remaining", 1)
            }
            _ => continue,
        };
        let left: Option<f64> =
            headers.all(&remaining).filter_map(|left| left.parse().ok()).min_by(f64::total_cmp);
        let known = match left {
            Some(left) if left > 0.0 => continue,
            Some(_) => 0,
            None => 1,
        };
        waits[known] = waits[known].max(reset(value, headers, now));
    }
    waits[0].or(waits[1])
}

/// A reset is an instant (RFC 3339, seconds or milliseconds since 1970), a duration, or a number of seconds.
fn reset(value: &str, headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
    let since_1970 = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?);
    match value.parse::<f64>() {
        Ok(number) if (1e11..1e14).contains(&number) => until(since_1970(number / 1e3)?, headers, now),
        Ok(number) if number >= 1e9 => until(since_1970(number)?, headers, now),
        Ok(number) => from_seconds(number),
        Err(_) => match DateTime::parse_from_rfc3339(value) {
            Ok(instant) => until(instant.into(), headers, now),
            Err(_) => duration(value),
        },
    }
}

/// How long until an instant of the provider's clock, which its `date` header tells; ours serves where that is missing or
/// more than a day off.
fn until(instant: SystemTime, headers: Headers<'_>, now: SystemTime) -> Option<Duration> {
    const SKEW_MAX: Duration = Duration::from_secs(24 * 60 * 60);
    let near = |date: &SystemTime| {
        let skew = date.duration_since(now).or_else(|error| Ok::<_, ()>(error.duration()));
        skew.is_ok_and(|skew| skew <= SKEW_MAX)
    };
    let dates = headers.all("date").filter_map(|date| httpdate::parse_http_date(date).ok());
    let now = dates.filter(near).max().unwrap_or(now);
    from_seconds(instant.duration_since(now).ok()?.as_secs_f64())
}

/// What `x-should-retry` says. No wins where the header is there twice.
pub(crate) fn should_retry(headers: Headers<'_>) -> Option<bool> {
    let said = headers.all("x-should-retry").filter_map(|value| match value {
        _ if value.eq_ignore_ascii_case("true") => Some(true),
        _ if value.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    });
    said.min()
}

/// The longest wait that prose asks for: "try again in 1.2s", "retry after 45 seconds".
///
/// Headers that prose quotes count too: "Retry-After: 20".
pub(crate) fn in_text(text: &str) -> Option<Duration> {
    static ASKS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?ix-u) \b (?:try\ again|retry|retrying|wait|available\ again|resets?) \b (?u-i:[^.;:\n0-9]){0,12}?
              (?:\b(?:in|after|for|about|at\ least)\ ){0,2} ~?
              ((?: \d+(?:\.\d+)?\ ?(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\ ? )+) \b",
        )
        .expect("a valid pattern")
    });
    static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"(?i-u)\bretry[-_]after(?:\\?["'])? ?[:=] ?(?:\\?["'])?(\d+(?:\.\d+)?)\b"#)
            .expect("a valid pattern")
    });
    let longest = |pattern: &Regex| {
        pattern.captures_iter(text).filter_map(|found| seconds(found.get(1)?.as_str())).max()
    };
    let quoted = if text.contains("etry") { longest(&QUOTED) } else { None };
    longest(&ASKS).max(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Vec<(Box<str>, Box<str>)> {
        list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    /// 2026-01-02T03:04:05Z, a Friday.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
    }

    #[test]
    fn retry_after_is_read_in_every_form_and_nonsense_is_not() {
        let explicit =
            |list: &[(&str, &str)]| explicit(Headers(&headers(list)), now()).map(|wait| wait.as_millis());
        for (value, millis) in [
            ("30", Some(30_000)),
            (" 1.5 ", Some(1_500)),
            ("1e1", Some(10_000)),
            ("1e300", Some(RETRY_AFTER_MAX.as_millis())),
            ("Fri, 02 Jan 2026 03:04:08 GMT", Some(3_000)),
            ("Friday, 02-Jan-26 03:04:08 GMT", Some(3_000)),
            ("Fri Jan  2 03:04:08 2026", Some(3_000)),
            ("Fri, 02 Jan 2026 03:04:05 GMT", None),
            ("Thu, 01 Jan 2026 03:04:05 GMT", None),
            ("0", None),
            ("-5", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(explicit(&[("Retry-After", value)]), millis, "{value:?}");
        }
        assert_eq!(explicit(&[("Retry-After", "30"), ("RETRY-AFTER-MS", "1500")]), Some(1_500));
        for bad in ["abc", "0", "-1", "inf"] {
            assert_eq!(explicit(&[("retry-after-ms", bad), ("retry-after", "4")]), Some(4_000), "{bad}");
        }
        assert_eq!(explicit(&[("retry-after", "2"), ("Retry-After", "7")]), Some(7_000));
    }

    #[test]
    fn a_date_counts_from_the_providers_own_clock() {
        let ahead =
            [("date", "Fri, 02 Jan 2026 03:14:05 GMT"), ("retry-after", "Fri, 02 Jan 2026 03:14:15 GMT")];
        assert_eq!(explicit(Headers(&headers(&ahead)), now()), Some(Duration::from_secs(10)));
        let broken =
            [("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("retry-after", "Fri, 02 Jan 2026 03:04:15 GMT")];
        assert_eq!(explicit(Headers(&headers(&broken)), now()), Some(Duration::from_secs(10)));
    }

    #[test]
    fn of_several_limits_the_one_that_was_hit_counts() {
        let resets =
            |list: &[(&str, &str)]| resets(Headers(&headers(list)), now()).map(|wait| wait.as_millis());
        let openai = |left| {
            [
                ("x-ratelimit-remaining-requests", "499"),
                ("x-ratelimit-reset-requests", "6m0s"),
                ("x-ratelimit-remaining-tokens", left),
                ("x-ratelimit-reset-tokens", "6.2s"),
            ]
        };
        assert_eq!(resets(&openai("0")), Some(6_200));
        assert_eq!(resets(&openai("7")), None, "no limit was hit");
        let anthropic = [
            ("anthropic-ratelimit-input-tokens-reset", "2026-01-02T03:04:17Z"),
            ("Anthropic-Ratelimit-Input-Tokens-Remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-01-02T04:00:00Z"),
            ("anthropic-ratelimit-requests-remaining", "12"),
        ];
        assert_eq!(resets(&anthropic), Some(12_000));
        for (value, millis) in [
            ("1m30s", Some(90_000)),
            ("20ms", Some(20)),
            ("17", Some(17_000)),
            ("1767323055", Some(10_000)),
            ("1767323055500", Some(10_500)),
            ("0", None),
            ("-1", None),
            ("2020-01-01T00:00:00Z", None),
            ("1x", None),
        ] {
            assert_eq!(resets(&[("X-RateLimit-Reset", value)]), millis, "{value:?}");
        }
    }

    #[test]
    fn prose_is_asked_for_a_wait() {
        for (text, millis) in [
            ("Please try again in 8s. (code: x)", Some(8_000)),
            ("Please retry in 45.837906927s.", Some(45_837)),
            ("try again in 1.2s", Some(1_200)),
            ("Please retry after 45 seconds.", Some(45_000)),
            ("TRY AGAIN IN 6m0s", Some(360_000)),
            ("please wait 2 minutes and", Some(120_000)),
            ("Retry in about 3 hours", Some(10_800_000)),
            ("retry in 20ms or in 1 s", Some(20)),
            ("Retry-After: 20", Some(20_000)),
            ("retry_after=1.5", Some(1_500)),
            ("\"retry_after\": 12}", Some(12_000)),
            ("try again later", None),
            ("retry 3 times", None),
            ("retry in 5 meters", None),
            ("it took 5 seconds", None),
        ] {
            assert_eq!(in_text(text).map(|wait| wait.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn x_should_retry_is_yes_or_no_and_no_wins() {
        let said = |list: &[(&str, &str)]| should_retry(Headers(&headers(list)));
        assert_eq!(said(&[("X-Should-Retry", " TRUE ")]), Some(true));
        assert_eq!(said(&[("x-should-retry", "true"), ("x-should-retry", "false")]), Some(false));
        assert_eq!(said(&[("x-should-retry", "maybe")]), None);
    }
}
