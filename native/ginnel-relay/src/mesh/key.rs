//! The key that shows a relay to be of our region. It never prints, and is wiped when dropped.

use zeroize::Zeroizing;

/// 256 bits, shared by the relays of one region.
#[derive(Clone)]
pub struct MeshKey(Zeroizing<[u8; 32]>);

impl MeshKey {
    /// None for a key that cannot be a random one: all bytes the same.
    pub fn new(bytes: [u8; 32]) -> Option<Self> {
        let random = bytes.iter().any(|byte| *byte != bytes[0]);
        random.then(|| Self(Zeroizing::new(bytes)))
    }

    /// In a time that doesn't tell where they differ.
    pub(crate) fn is(&self, claimed: &[u8; 32]) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&*self.0, claimed).is_ok()
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        *self.0
    }
}

impl std::fmt::Debug for MeshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MeshKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_is_the_key_and_none_prints() {
        let bytes = std::array::from_fn(|at| at as u8);
        let key = MeshKey::new(bytes).unwrap();
        assert!(key.is(&bytes));
        for at in 0..32 {
            let mut other = bytes;
            other[at] ^= 1;
            assert!(!key.is(&other));
        }
        assert_eq!(format!("{key:?}"), "MeshKey");
        assert!(MeshKey::new([0; 32]).is_none());
    }
}
