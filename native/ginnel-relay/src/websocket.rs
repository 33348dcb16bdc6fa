//! DERP inside websocket messages (RFC 6455; tailscale: cmd/derper/websocket.go): a browser's way in. The messages' ends
//! mean nothing, their payload is one stream of bytes, so no message is ever held: what has come is passed on. Pure.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A header of 4 bytes and this fill one TLS record, and stay below every client's limit of a message.
const PIECE: usize = (16 << 10) - 4;
const MAX_HEADER: usize = 14;
const MAX_CONTROL: u64 = 125;
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// Why a client is no websocket client any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebsocketError {
    #[error("a websocket header that is none")]
    BadHeader,
    #[error("a client's websocket frame is masked")]
    NotMasked,
    #[error("a websocket extension that was not agreed on")]
    Extension,
    #[error("a websocket message that is not binary")]
    NotBinary,
    #[error("a websocket control frame that is too long or in pieces")]
    BadControl,
    #[error("websocket messages out of order")]
    OutOfOrder,
}

/// One direction's state: the frame that is being read.
#[derive(Debug, Default)]
pub(crate) struct Websocket {
    /// A header that is not yet whole.
    head: Vec<u8>,
    /// Payload of the frame that is still to come.
    left: u64,
    mask: [u8; 4],
    /// A message has begun and its last frame has not.
    in_message: bool,
    /// The control frame that is being read, and what has come of it.
    control: Option<Control>,
    words: Vec<u8>,
    closed: bool,
}

impl Websocket {
    /// The client said goodbye, or we did.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Replace `bytes[from..]`, frames as they came, by the payload in them. Answers to be sent are appended to
    /// `answers`: at most one pong and one goodbye for each call.
    pub(crate) fn decode(
        &mut self,
        bytes: &mut Vec<u8>,
        from: usize,
        answers: &mut Vec<u8>,
    ) -> Result<(), WebsocketError> {
        let (mut read, mut written) = (from, from);
        let mut pong = None;
        let mut result = Ok(());
        while read < bytes.len() && !self.closed {
            if self.left == 0 && self.control.is_none() {
                match self.begin(&bytes[read..]) {
                    Ok(size) => read += size,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            } else {
                let size = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - read);
                self.unmask(&mut bytes[read..read + size]);
                if self.control.is_some() {
                    self.words.extend_from_slice(&bytes[read..read + size]);
                } else {
                    bytes.copy_within(read..read + size, written);
                    written += size;
                }
                read += size;
            }
            if self.left == 0
                && let Some(control) = self.control.take()
            {
                let words = std::mem::take(&mut self.words);
                match control {
                    Control::Ping => pong = Some(words),
                    Control::Close => self.say_goodbye(&words, answers),
                    _ => {}
                }
            }
        }
        if let Some(words) = pong {
            put_frame(answers, OpCode::Control(Control::Pong), &words);
        }
        bytes.truncate(written);
        result
    }

    /// Take a frame's header; gives how many of the bytes were its.
    fn begin(&mut self, bytes: &[u8]) -> Result<usize, WebsocketError> {
        let kept = self.head.len();
        let size = bytes.len().min(MAX_HEADER - kept);
        self.head.extend_from_slice(&bytes[..size]);
        let mut cursor = Cursor::new(&self.head[..]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|_: tungstenite::Error| WebsocketError::BadHeader)?;
        let Some((header, length)) = parsed else {
            return Ok(size);
        };
        let used = cursor.position() as usize - kept;
        self.head = Vec::new();
        self.check(&header, length)?;
        (self.left, self.mask) = (length, header.mask.ok_or(WebsocketError::NotMasked)?);
        Ok(used)
    }

    fn check(&mut self, header: &FrameHeader, length: u64) -> Result<(), WebsocketError> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(WebsocketError::Extension);
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > MAX_CONTROL => {
                return Err(WebsocketError::BadControl);
            }
            OpCode::Control(control) => self.control = Some(control),
            OpCode::Data(Data::Binary | Data::Continue)
                if self.in_message != (header.opcode == OpCode::Data(Data::Continue)) =>
            {
                return Err(WebsocketError::OutOfOrder);
            }
            OpCode::Data(Data::Binary | Data::Continue) => self.in_message = !header.is_final,
            OpCode::Data(_) => return Err(WebsocketError::NotBinary),
        }
        Ok(())
    }

    fn unmask(&mut self, bytes: &mut [u8]) {
        for (byte, mask) in bytes.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
        self.mask.rotate_left(bytes.len() % 4);
        self.left -= bytes.len() as u64;
    }

    /// The client's own code goes back to it.
    fn say_goodbye(&mut self, words: &[u8], answers: &mut Vec<u8>) {
        self.closed = true;
        put_frame(
            answers,
            OpCode::Control(Control::Close),
            words.get(..2).unwrap_or_default(),
        );
    }

    /// Our own goodbye, unless there was one.
    pub(crate) fn goodbye(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.closed, true) {
            put_frame(&mut out, OpCode::Control(Control::Close), &GOING_AWAY);
        }
        out
    }
}

/// The messages that carry the bytes, one after the other.
pub(crate) fn messages(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.chunks(PIECE).map(|piece| {
        let mut out = Vec::with_capacity(piece.len() + MAX_HEADER);
        put_frame(&mut out, OpCode::Data(Data::Binary), piece);
        out
    })
}

fn put_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    // Writing to memory does not fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    const BINARY: u8 = 0x82;

    fn framed(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            size @ ..=125 => out.push(0x80 | size as u8),
            size @ ..=0xffff => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(size as u16).to_be_bytes());
            }
            size => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&KEY);
        out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(a, b)| a ^ b));
        out
    }

    fn decoded(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), WebsocketError> {
        let (mut bytes, mut answers) = (bytes.to_vec(), Vec::new());
        Websocket::default().decode(&mut bytes, 0, &mut answers)?;
        Ok((bytes, answers))
    }

    #[test]
    fn what_stands_before_is_left_alone() {
        let mut bytes = [b"kept".to_vec(), framed(BINARY, b"more")].concat();
        let mut websocket = Websocket::default();
        websocket.decode(&mut bytes, 4, &mut Vec::new()).unwrap();
        assert_eq!(bytes, b"keptmore");
    }

    #[test]
    fn a_ping_is_answered_once_a_batch_and_a_goodbye_ends_the_stream() {
        let pings = [framed(0x89, b"one"), framed(0x89, b"two")].concat();
        assert_eq!(decoded(&pings).unwrap().1, b"\x8a\x03two");
        let close = [
            framed(0x88, &[0x03, 0xe8, b'x']),
            framed(BINARY, b"too late"),
        ]
        .concat();
        assert_eq!(
            decoded(&close).unwrap(),
            (vec![], vec![0x88, 2, 0x03, 0xe8])
        );
        assert_eq!(decoded(&framed(0x88, b"")).unwrap().1, [0x88, 0]);
        let mut websocket = Websocket::default();
        assert_eq!(websocket.goodbye(), [0x88, 2, 0x03, 0xe9]);
        assert!(websocket.goodbye().is_empty() && websocket.is_closed());
    }

    #[test]
    fn what_breaks_the_rules_is_named() {
        let long = framed(0x89, &[0; 126]);
        let cases = [
            (b"\x82\x01a".to_vec(), WebsocketError::NotMasked),
            (framed(0xc2, b"a"), WebsocketError::Extension),
            (framed(0x81, b"text"), WebsocketError::NotBinary),
            (framed(0x80, b"a"), WebsocketError::OutOfOrder),
            (
                [framed(0x02, b"a"), framed(0x82, b"b")].concat(),
                WebsocketError::OutOfOrder,
            ),
            (long, WebsocketError::BadControl),
            (framed(0x09, b"a"), WebsocketError::BadControl),
            (framed(0x83, b"a"), WebsocketError::BadHeader),
        ];
        for (bytes, expected) in cases {
            assert_eq!(decoded(&bytes), Err(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_message_of_any_length_is_never_held() {
        let mut websocket = Websocket::default();
        let mut head = framed(BINARY, &[])[..1].to_vec();
        head.extend_from_slice(&[0xff]);
        head.extend_from_slice(&(u64::MAX >> 1).to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        websocket.decode(&mut head, 0, &mut Vec::new()).unwrap();
        for _ in 0..100 {
            let mut piece = vec![7; 60_000];
            websocket.decode(&mut piece, 0, &mut Vec::new()).unwrap();
            assert_eq!(piece, vec![7; 60_000]);
        }
        assert_eq!(websocket.head.capacity() + websocket.words.capacity(), 0);
    }

    #[test]
    fn messages_fill_a_record_and_no_more() {
        let bytes: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
        let messages: Vec<_> = messages(&bytes).collect();
        assert_eq!(messages.len(), 3);
        assert!(
            messages
                .iter()
                .all(|message| message.len() <= 16 << 10 && message[0] == BINARY)
        );
        let payload: Vec<u8> = messages
            .iter()
            .flat_map(|message| message[4..].to_vec())
            .collect();
        assert_eq!(payload, bytes);
    }

    proptest! {
        #[test]
        fn frames_may_come_in_any_pieces(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
            cut in 1usize..40,
        ) {
            let last = payloads.len() - 1;
            let mut stream = Vec::new();
            for (number, payload) in payloads.iter().enumerate() {
                let opcode = if number == 0 { 2 } else { 0 };
                stream.extend(framed(opcode | if number == last { 0x80 } else { 0 }, payload));
                stream.extend(framed(0x8a, b"a pong that nobody asked for"));
            }
            let (mut websocket, mut out) = (Websocket::default(), Vec::new());
            for piece in stream.chunks(cut) {
                let mut piece = piece.to_vec();
                websocket.decode(&mut piece, 0, &mut Vec::new()).unwrap();
                out.extend(piece);
            }
            prop_assert_eq!(out, payloads.concat());
        }

        #[test]
        fn any_bytes_are_payload_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = decoded(&bytes);
        }
    }
}
