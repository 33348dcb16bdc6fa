//! The responses that the relay itself gives.

use super::{Request, field};

pub(super) const NO_CACHE: &str =
    "Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n";

/// A whole response that ends the connection.
pub(crate) fn answer(status: &str, fields: &str, body: &str, head_only: bool) -> String {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: text/plain; charset=utf-8\r\n"
    };
    response(status, &format!("{fields}{kind}"), body, head_only)
}

/// The answer of `/bootstrap-dns`.
pub(crate) fn bootstrap_dns(json: &str, head_only: bool) -> String {
    response(
        "200 OK",
        "Content-Type: application/json\r\n",
        json,
        head_only,
    )
}

fn response(status: &str, fields: &str, body: &str, head_only: bool) -> String {
    let length = match status.starts_with("204") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let body = if head_only { "" } else { body };
    format!("HTTP/1.1 {status}\r\n{fields}{length}Connection: close\r\n\r\n{body}")
}

/// The answer's one variable part is the challenge, and only if it can't be mistaken for anything else.
pub(super) fn generate_204(request: &Request<'_, '_>) -> String {
    let challenge = field(request, "x-tailscale-challenge")
        .filter(|text| !text.is_empty() && text.len() <= 64 && text.iter().all(|&byte| plain(byte)))
        .map(String::from_utf8_lossy);
    let echo = challenge.map_or_else(String::new, |text| {
        format!("X-Tailscale-Response: response {text}\r\n")
    });
    answer("204 No Content", &format!("{NO_CACHE}{echo}"), "", false)
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".:_-".contains(&byte)
}

pub(super) fn to_https(
    request: &Request<'_, '_>,
    target: &str,
    reading: bool,
    head_only: bool,
) -> String {
    let host = field(request, "host")
        .and_then(|host| std::str::from_utf8(host).ok())
        .and_then(without_port);
    match host {
        Some(host) if reading && target.starts_with('/') => answer(
            "302 Found",
            &format!("Location: https://{host}{target}\r\n"),
            "",
            head_only,
        ),
        _ => answer("400 Bad Request", "", "Use HTTPS\n", head_only),
    }
}

fn without_port(host: &str) -> Option<&str> {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let name = &host[..end];
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (!name.is_empty() && name.len() <= 255 && name.bytes().all(sound)).then_some(name)
}
