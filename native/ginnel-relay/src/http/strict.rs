//! Requests that two readers could understand in two ways are refused (RFC 9112 §2.2, §3.2, §6.3, §11.2): what is read
//! here is read once more by the server behind, and both have to see the same.

use super::{Request, field};

/// Why the request is refused; None: it can be understood in one way only.
pub(super) fn ambiguity(head: &[u8], request: &Request<'_, '_>) -> Option<&'static str> {
    let found = |name: &str| {
        let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        request.headers.iter().filter(named).count()
    };
    let (lengths, encodings) = (found("content-length"), found("transfer-encoding"));
    if bare_newline(head) {
        return Some("a line ends in LF alone");
    }
    if !request
        .path
        .is_some_and(|target| target.starts_with('/') || target == "*")
    {
        return Some("the target is no path");
    }
    if found("host") > 1 {
        return Some("more than one Host");
    }
    if lengths > 1 || lengths + encodings > 1 {
        return Some("more than one length");
    }
    if lengths == 1 && !field(request, "content-length").is_some_and(is_number) {
        return Some("the length is no number");
    }
    let chunked = || {
        request.version == Some(1)
            && field(request, "transfer-encoding")
                .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
    };
    (encodings == 1 && !chunked()).then_some("a transfer coding that is not chunked")
}

fn bare_newline(head: &[u8]) -> bool {
    let first = head.first() == Some(&b'\n');
    first
        || head
            .windows(2)
            .any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}

/// At most 18 digits, which every reader's integers hold.
fn is_number(text: &[u8]) -> bool {
    (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}
