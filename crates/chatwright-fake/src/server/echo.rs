//! What a server says of a request in its answer, as some do: the key too.

use serde_json::Value;

use super::ReceivedRequest;
use crate::reply::Reply;

/// Puts the key and the body of a request into a reply.
pub(super) fn echo(mut reply: Reply, request: &ReceivedRequest) -> Reply {
    let key = key(request);
    for (_, value) in &mut reply.headers {
        *value = value.replace("{key}", key);
    }
    if let Some(body) = &mut reply.body {
        *body = body
            .replace("{key}", &in_json(key.to_owned()))
            .replace("{request}", &in_json(request.body.to_string()));
    }
    reply
}

/// The key of a request, wherever its provider wants it.
fn key(request: &ReceivedRequest) -> &str {
    let header =
        |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let bearer = header("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
    bearer.or(header("x-api-key")).or(header("x-goog-api-key")).unwrap_or_default()
}

/// Text as it stands between the quotes of a JSON string.
fn in_json(text: String) -> String {
    let quoted = Value::String(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
