//! The head of a request and what is answered here (tailscale: cmd/derper/derper.go, derp/derpserver/handler.go).
//! Pure: bytes in, a decision out.

mod answer;
mod strict;

use tungstenite::handshake::derive_accept_key;

use crate::config::{MAX_FIELDS, MAX_HEAD_SIZE};

pub(crate) use answer::{answer, bootstrap_dns};
use answer::{generate_204, to_https};
use strict::ambiguity;

const UPGRADE_REQUIRED: &str = "DERP requires connection upgrade\n";
const ACME_PATH: &str = "/.well-known/acme-challenge/";
const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// What a request wants from the relay itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Bytes behind the head belong to DERP. `ideal`: the client did not want another relay of the region.
    Derp { fast_start: bool, ideal: bool },
    /// DERP inside websocket messages, behind this answer.
    Websocket { answer: String, ideal: bool },
    /// The proof that an ACME authority asks for; `otherwise` where there is none.
    AcmeToken { token: String, otherwise: String },
    /// This answer, then close.
    Answer(String),
    /// The names' addresses, or those of the one that was asked for, then close.
    BootstrapDns {
        asked: Option<String>,
        head_only: bool,
    },
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
    /// The same, for a request that can be understood in two ways.
    Ambiguous(String),
}

/// Read a head that came in by TLS (`tls`) or on port 80.
pub(crate) fn read_head(bytes: &[u8], tls: bool) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let too_large = || Head::Refused(answer("431 Request Header Fields Too Large", "", "", false));
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(size)) if size > MAX_HEAD_SIZE => too_large(),
        Ok(httparse::Status::Complete(size)) => match ambiguity(&bytes[..size], &request) {
            Some(why) => Head::Ambiguous(answer("400 Bad Request", "", &format!("{why}\n"), false)),
            None => Head::Whole {
                size,
                want: want(&request, tls),
            },
        },
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD_SIZE => too_large(),
        Ok(httparse::Status::Partial) => Head::Partial,
        Err(httparse::Error::TooManyHeaders) => too_large(),
        Err(_) => Head::Refused(answer("400 Bad Request", "", "", false)),
    }
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
        _ if !tls && reading && path.starts_with(ACME_PATH) => Want::AcmeToken {
            token: path[ACME_PATH.len()..].to_owned(),
            otherwise: to_https(request, target, reading, head_only),
        },
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
        "/bootstrap-dns" if reading => Want::BootstrapDns {
            asked: asked_name(target),
            head_only,
        },
        "/robots.txt" if reading => Want::Answer(answer("200 OK", "", ROBOTS, head_only)),
        _ => Want::Elsewhere {
            otherwise: answer("404 Not Found", "", "not found\n", head_only),
        },
    }
}

/// The first `q` of the query, as it stands there: a host name has nothing that would be escaped.
fn asked_name(target: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let name = query.split('&').find_map(|pair| pair.strip_prefix("q="))?;
    Some(name.to_ascii_lowercase())
}

fn derp(request: &Request<'_, '_>, method: &str) -> Want {
    let asked = field(request, "upgrade").unwrap_or_default();
    let by_websocket = asked.eq_ignore_ascii_case(b"websocket");
    if method == "GET" && by_websocket && lists(request, "sec-websocket-protocol", "derp") {
        return websocket(request);
    }
    // Clients of old asked for a websocket and spoke DERP all the same.
    if method != "GET" || !(by_websocket || asked.eq_ignore_ascii_case(b"derp")) {
        return Want::Answer(answer(
            "426 Upgrade Required",
            "Upgrade: DERP\r\n",
            UPGRADE_REQUIRED,
            false,
        ));
    }
    Want::Derp {
        fast_start: field(request, "derp-fast-start") == Some(b"1"),
        ideal: ideal(request),
    }
}

/// No extension is taken up, so nothing is ever compressed. Any Origin may come: a login proves a key, not a cookie.
fn websocket(request: &Request<'_, '_>) -> Want {
    let key = field(request, "sec-websocket-key").filter(|key| key.len() == 24);
    let version = field(request, "sec-websocket-version") == Some(b"13");
    let upgrade = request.version == Some(1) && lists(request, "connection", "upgrade");
    let (Some(key), true, true) = (key, version, upgrade) else {
        let fields = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        return Want::Answer(answer(
            "426 Upgrade Required",
            fields,
            "expected a websocket of version 13\n",
            false,
        ));
    };
    let accept = derive_accept_key(key);
    Want::Websocket {
        answer: format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: derp\r\n\r\n"
        ),
        ideal: ideal(request),
    }
}

fn ideal(request: &Request<'_, '_>) -> bool {
    field(request, "ideal-node").is_none_or(<[u8]>::is_empty)
}

/// Whether the word stands in the field, which is a list, and may stand there in several lines.
fn lists(request: &Request<'_, '_>, name: &str, word: &str) -> bool {
    let lines = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name));
    let mut words = lines.flat_map(|field| field.value.split(|&byte| byte == b','));
    words.any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
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
    use super::answer::NO_CACHE;
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
            Want::Answer(text)
            | Want::Elsewhere { otherwise: text }
            | Want::AcmeToken {
                otherwise: text, ..
            } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bootstrap_dns_is_asked_for_a_name_or_for_none() {
        for (target, name) in [
            ("/bootstrap-dns", None),
            ("/bootstrap-dns?x=y", None),
            ("/bootstrap-dns?x=y&q=A.example&q=b", Some("a.example")),
        ] {
            let asked = name.map(str::to_owned);
            let want = Want::BootstrapDns {
                asked,
                head_only: false,
            };
            assert_eq!(
                wanted(&format!("GET {target} HTTP/1.1\r\n\r\n"), true),
                want
            );
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

    const WEBSOCKET: &str = "GET /derp HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    #[test]
    fn a_websocket_of_subprotocol_derp_is_agreed_to() {
        let head = format!(
            "{WEBSOCKET}Sec-WebSocket-Protocol: chat, derp\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
        let Want::Websocket { answer, .. } = wanted(&head, true) else {
            panic!("no websocket");
        };
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")); // RFC 6455 §1.3
        assert!(
            answer.contains("\r\nSec-WebSocket-Protocol: derp\r\n")
                && !answer.contains("Extensions")
        );
    }

    #[test]
    fn a_websocket_without_the_subprotocol_is_plain_derp_and_a_half_one_is_refused() {
        assert_eq!(
            wanted(&format!("{WEBSOCKET}\r\n"), true),
            Want::Derp {
                fast_start: false,
                ideal: true
            }
        );
        let whole = format!("{WEBSOCKET}Sec-WebSocket-Protocol: derp\r\n\r\n");
        for (from, to) in [
            ("13", "12"),
            ("Key", "Lock"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("keep-alive, Upgrade", "close"),
        ] {
            let text = answered(&whole.replacen(from, to, 1), true);
            assert!(
                text.starts_with("HTTP/1.1 426 ") && text.contains("Sec-WebSocket-Version: 13"),
                "{text}"
            );
        }
    }

    #[test]
    fn an_authority_s_question_is_known_on_port_80_alone() {
        let head = "GET /.well-known/acme-challenge/abc-_1?x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(matches!(wanted(head, false), Want::AcmeToken { token, .. } if token == "abc-_1"));
        assert!(matches!(wanted(head, true), Want::Elsewhere { .. }));
    }

    #[test]
    fn what_can_be_understood_in_two_ways_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nX: a\r\n\tb\r\n\r\n",
            "POST / HTTP/1.1\r\nX: a\rContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        ] {
            for tls in [true, false] {
                let found = read_head(head.as_bytes(), tls);
                assert!(
                    matches!(&found, Head::Ambiguous(text) | Head::Refused(text) if text.contains(" 400 ")),
                    "{head:?}: {found:?}"
                );
            }
        }
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(
                matches!(read_head(head.as_bytes(), true), Head::Whole { .. }),
                "{head:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..400), tls: bool) {
            let _ = read_head(&bytes, tls);
            let _ = read_head(&[&b"GET /generate_204 HTTP/1.1\r\n"[..], &bytes].concat(), tls);
        }
    }
}
