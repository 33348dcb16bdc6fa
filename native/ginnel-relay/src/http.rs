//! The head of a request and what is answered here (tailscale: cmd/derper/derper.go, derp/derpserver/handler.go).
//! Pure: bytes in, a decision out.

use crate::config::{MAX_FIELDS, MAX_HEAD_SIZE};

const NO_CACHE: &str =
    "Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n";
const UPGRADE_REQUIRED: &str = "DERP requires connection upgrade\n";
const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// What a request wants from the relay itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Bytes behind the head belong to DERP. `ideal`: the client did not want another relay of the region.
    Derp { fast_start: bool, ideal: bool },
    /// This answer, then close.
    Answer(String),
    /// The names' addresses, then close.
    BootstrapDns { head_only: bool },
    /// Not ours: for the server behind, or this answer where there is none.
    Elsewhere { otherwise: String },
}

/// A head that is not yet whole, or what it wants and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    Partial,
    Whole {
        size: usize,
        want: Want,
    },
    /// This answer, then close.
    Refused(String),
}

/// Read a head that came in by TLS (`tls`) or on port 80.
pub(crate) fn read_head(bytes: &[u8], tls: bool) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let too_large = || Head::Refused(answer("431 Request Header Fields Too Large", "", "", false));
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(size)) if size > MAX_HEAD_SIZE => too_large(),
        Ok(httparse::Status::Complete(size)) => Head::Whole {
            size,
            want: want(&request, tls),
        },
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_SIZE => too_large(),
        Ok(httparse::Status::Partial) => Head::Partial,
        Err(httparse::Error::TooManyHeaders) => too_large(),
        Err(_) => Head::Refused(answer("400 Bad Request", "", "", false)),
    }
}

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

type Request<'h, 'b> = httparse::Request<'h, 'b>;

fn want(request: &Request<'_, '_>, tls: bool) -> Want {
    let method = request.method.unwrap_or("");
    let target = request.path.unwrap_or("");
    let path = target.split('?').next().unwrap_or("");
    let reading = matches!(method, "GET" | "HEAD");
    let head_only = method == "HEAD";
    match path {
        "/generate_204" if reading => Want::Answer(generate_204(request)),
        _ if !tls => Want::Elsewhere {
            otherwise: to_https(request, target, reading, head_only),
        },
        "/derp" => derp(request, method),
        "/derp/probe" | "/derp/latency-check" if reading => Want::Answer(answer(
            "200 OK",
            "Access-Control-Allow-Origin: *\r\n",
            "",
            head_only,
        )),
        "/derp/probe" | "/derp/latency-check" => Want::Answer(answer(
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
            "",
            false,
        )),
        "/bootstrap-dns" if reading => Want::BootstrapDns { head_only },
        "/robots.txt" if reading => Want::Answer(answer("200 OK", "", ROBOTS, head_only)),
        _ => Want::Elsewhere {
            otherwise: answer("404 Not Found", "", "not found\n", head_only),
        },
    }
}

fn derp(request: &Request<'_, '_>, method: &str) -> Want {
    let upgrade =
        field(request, "upgrade").is_some_and(|token| token.eq_ignore_ascii_case(b"derp"));
    if method != "GET" || !upgrade {
        return Want::Answer(answer(
            "426 Upgrade Required",
            "Upgrade: DERP\r\n",
            UPGRADE_REQUIRED,
            false,
        ));
    }
    Want::Derp {
        fast_start: field(request, "derp-fast-start") == Some(b"1"),
        ideal: field(request, "ideal-node").is_none_or(<[u8]>::is_empty),
    }
}

/// The answer's one variable part is the challenge, and only if it can't be mistaken for anything else.
fn generate_204(request: &Request<'_, '_>) -> String {
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

fn to_https(request: &Request<'_, '_>, target: &str, reading: bool, head_only: bool) -> String {
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

/// The field's value if it stands there exactly once: two values are a trick or a mistake.
fn field<'b>(request: &Request<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let mut found = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name));
    let value = found.next()?.value.trim_ascii();
    found.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wanted(head: &str, tls: bool) -> Want {
        match read_head(head.as_bytes(), tls) {
            Head::Whole { want, size } => {
                assert_eq!(size, head.len());
                want
            }
            other => panic!("{other:?}"),
        }
    }

    fn answered(head: &str, tls: bool) -> String {
        match wanted(head, tls) {
            Want::Answer(text) | Want::Elsewhere { otherwise: text } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_upgrade_token_is_read_in_any_case() {
        for token in ["DERP", "derp", "Derp"] {
            let head = format!("GET /derp HTTP/1.1\r\nHost: a\r\nUpgrade: {token}\r\n\r\n");
            assert_eq!(
                wanted(&head, true),
                Want::Derp {
                    fast_start: false,
                    ideal: true
                }
            );
        }
        let fast = "GET /derp HTTP/1.1\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n";
        assert_eq!(
            wanted(fast, true),
            Want::Derp {
                fast_start: true,
                ideal: true
            }
        );
    }

    #[test]
    fn another_upgrade_is_answered_426() {
        for fields in ["", "Upgrade: h2c\r\n", "Upgrade: DERP\r\nUpgrade: DERP\r\n"] {
            let text = answered(&format!("GET /derp HTTP/1.1\r\n{fields}\r\n"), true);
            assert!(
                text.starts_with("HTTP/1.1 426 ") && text.contains(UPGRADE_REQUIRED),
                "{text}"
            );
        }
        assert!(
            answered("POST /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n", true)
                .starts_with("HTTP/1.1 426 ")
        );
    }

    #[test]
    fn probes_are_open_to_any_origin_and_to_reading_only() {
        for path in ["/derp/probe", "/derp/latency-check?x=1"] {
            let text = answered(&format!("HEAD {path} HTTP/1.1\r\n\r\n"), true);
            assert!(
                text.starts_with("HTTP/1.1 200 ")
                    && text.contains("Access-Control-Allow-Origin: *\r\n")
            );
            assert!(
                answered(&format!("POST {path} HTTP/1.1\r\n\r\n"), true)
                    .starts_with("HTTP/1.1 405 ")
            );
        }
    }

    #[test]
    fn a_challenge_comes_back_and_a_bad_one_does_not() {
        let ask = |challenge: &str| {
            answered(
                &format!(
                    "GET /generate_204?t=1 HTTP/1.1\r\nX-Tailscale-Challenge: {challenge}\r\n\r\n"
                ),
                false,
            )
        };
        assert!(
            ask("ts_derp1.example:80")
                .contains("\r\nX-Tailscale-Response: response ts_derp1.example:80\r\n")
        );
        let longest = "a".repeat(64);
        assert!(ask(&longest).contains(&longest));
        for bad in ["a".repeat(65).as_str(), "a b", "<script>", ""] {
            let text = ask(bad);
            assert!(
                text.starts_with("HTTP/1.1 204 ") && !text.contains("X-Tailscale"),
                "{text}"
            );
            assert!(text.contains(NO_CACHE));
        }
    }

    #[test]
    fn port_80_knows_generate_204_alone_and_points_to_https() {
        let get = |host: &str| {
            answered(
                &format!("GET /derp?a=b HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                false,
            )
        };
        assert!(
            get("relay.example:80").contains("\r\nLocation: https://relay.example/derp?a=b\r\n")
        );
        assert!(
            get("[2001:db8::1]:80").contains("\r\nLocation: https://[2001:db8::1]/derp?a=b\r\n")
        );
        assert!(get("ev il").starts_with("HTTP/1.1 400 "));
        assert!(answered("POST / HTTP/1.1\r\nHost: a\r\n\r\n", false).starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn everything_else_is_for_the_server_behind() {
        let want = wanted(
            "POST /ts2021 HTTP/1.1\r\nUpgrade: tailscale-control-protocol\r\n\r\n",
            true,
        );
        assert!(
            matches!(want, Want::Elsewhere { otherwise } if otherwise.starts_with("HTTP/1.1 404 "))
        );
    }

    #[test]
    fn heads_that_are_none_are_refused() {
        for bytes in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
            "\0\x01\x02",
            "GET\r\n\r\n",
        ] {
            assert!(
                matches!(read_head(bytes.as_bytes(), true), Head::Refused(text) if text.contains(" 400 "))
            );
        }
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        assert!(matches!(read_head(v2, true), Head::Refused(_)));
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD_SIZE));
        assert!(
            matches!(read_head(long.as_bytes(), true), Head::Refused(text) if text.contains(" 431 "))
        );
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert!(
            matches!(read_head(many.as_bytes(), true), Head::Refused(text) if text.contains(" 431 "))
        );
    }

    #[test]
    fn a_head_in_pieces_is_read_once_it_is_whole() {
        let head = "GET /robots.txt HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(read_head(&head.as_bytes()[..cut], true), Head::Partial);
        }
        assert!(answered(head, true).ends_with(ROBOTS));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..400), tls: bool) {
            let _ = read_head(&bytes, tls);
            let _ = read_head(&[&b"GET /generate_204 HTTP/1.1\r\n"[..], &bytes].concat(), tls);
        }
    }
}
