//! WireGuard message kinds and the fields that routing a message needs (WireGuard paper §5.4).

/// What a message is, by its type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Handshake initiation, 148 bytes.
    Initiation {
        /// The initiator's session index.
        sender: u32,
    },
    /// Handshake response, 92 bytes.
    Response {
        /// The responder's session index.
        sender: u32,
        /// The index of our session.
        receiver: u32,
    },
    /// Cookie reply, 64 bytes.
    Cookie {
        /// The index of our session.
        receiver: u32,
    },
    /// Transport data, 32 bytes or more.
    Data {
        /// The index of our session.
        receiver: u32,
    },
}

/// Bytes that sealing adds: header and tag.
pub const OVERHEAD: usize = 32;

/// Read a message's kind and indices; `None` for what no WireGuard message can be.
pub fn message(bytes: &[u8]) -> Option<Message> {
    let kind = u32_le(bytes, 0)?;
    match (kind, bytes.len()) {
        (1, 148) => Some(Message::Initiation {
            sender: u32_le(bytes, 4)?,
        }),
        (2, 92) => Some(Message::Response {
            sender: u32_le(bytes, 4)?,
            receiver: u32_le(bytes, 8)?,
        }),
        (3, 64) => Some(Message::Cookie {
            receiver: u32_le(bytes, 4)?,
        }),
        (4, OVERHEAD..) => Some(Message::Data {
            receiver: u32_le(bytes, 4)?,
        }),
        _ => None,
    }
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_reserved_bytes_must_be_zero() {
        let mut data = vec![4, 0, 0, 0, 1, 2, 3, 4];
        data.resize(32, 0);
        assert_eq!(
            message(&data),
            Some(Message::Data {
                receiver: 0x0403_0201
            })
        );
        data[2] = 1;
        assert_eq!(message(&data), None);
    }

    #[test]
    fn handshake_messages_have_one_size() {
        for (kind, size) in [(1u8, 148), (2, 92), (3, 64)] {
            let mut bytes = vec![kind, 0, 0, 0];
            bytes.resize(size, 0);
            assert!(message(&bytes).is_some());
            assert!(message(&bytes[..size - 1]).is_none());
            bytes.push(0);
            assert!(message(&bytes).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes: Vec<u8>) {
            message(&bytes);
        }
    }
}
