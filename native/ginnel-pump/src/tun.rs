//! The TUN device: reads super-packets and cuts them, glues what is written.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use bytes::BytesMut;
use ginnel_wire::ip::{fold, sum};
use tun_rs::{DeviceBuilder, SyncDevice, VIRTIO_NET_HDR_LEN, VirtioNetHdr, gso_split};

use crate::arena::Arena;

/// Linux: include/uapi/linux/virtio_net.h `VIRTIO_NET_HDR_F_NEEDS_CSUM`: only the pseudo header is summed yet.
pub const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
/// The virtio header and the largest packet that can follow it.
const READ_MAX: usize = VIRTIO_NET_HDR_LEN + 65535;

/// A TUN device with offloads; dropping it removes the device.
pub struct Tun {
    device: SyncDevice,
    name: String,
    mtu: usize,
}

impl Tun {
    /// Make the device. The kernel hands over TCP and, since Linux 6.2, UDP super-packets.
    pub fn open(name: &str, mtu: u16) -> io::Result<Tun> {
        let device = DeviceBuilder::new()
            .name(name)
            .mtu(mtu)
            .offload(true)
            .build_sync()?;
        device.set_nonblocking(true)?;
        let name = device.name()?;
        Ok(Tun {
            device,
            name,
            mtu: usize::from(mtu),
        })
    }

    /// The name that the kernel gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the kernel takes UDP super-packets, as Linux does since 6.2.
    pub fn takes_udp_super_packets(&self) -> bool {
        self.device.udp_gso()
    }

    /// The largest packet.
    pub fn mtu(&self) -> usize {
        self.mtu
    }

    /// Write one packet in pieces, the virtio header first.
    pub fn write(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<()> {
        // SAFETY: `IoSlice` is laid out as `iovec`, and the slices outlive the call.
        let written = unsafe {
            libc::writev(
                self.device.as_raw_fd(),
                pieces.as_ptr().cast(),
                pieces.len() as libc::c_int,
            )
        };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

/// Reads packets and cuts super-packets into segments.
pub struct Reader {
    buffer: Box<[u8]>,
    arena: Arena,
    sizes: Vec<usize>,
}

impl Reader {
    /// With buffers for the largest super-packet.
    pub fn new() -> Reader {
        Reader {
            buffer: vec![0; READ_MAX].into_boxed_slice(),
            arena: Arena::new(),
            sizes: Vec::new(),
        }
    }

    /// Read one packet; `None` when there is none. The packet may be as large as 64 KiB.
    pub fn read(&mut self, tun: &Tun) -> io::Result<Option<Super<'_>>> {
        // SAFETY: at most `len` bytes are written into the live buffer.
        let got = unsafe {
            libc::read(
                tun.as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        let got = got as usize;
        if got <= VIRTIO_NET_HDR_LEN {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = VirtioNetHdr::decode(&self.buffer[..VIRTIO_NET_HDR_LEN])?;
        Ok(Some(Super {
            header,
            packet: &mut self.buffer[VIRTIO_NET_HDR_LEN..got],
            arena: &mut self.arena,
            sizes: &mut self.sizes,
        }))
    }
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

/// A packet as the kernel hands it over.
pub struct Super<'a> {
    header: VirtioNetHdr,
    packet: &'a mut [u8],
    arena: &'a mut Arena,
    sizes: &'a mut Vec<usize>,
}

impl Super<'_> {
    /// The packet; its length field covers all segments.
    pub fn packet(&self) -> &[u8] {
        self.packet
    }

    /// Cut it into packets with lengths and checksums of their own. Each has room for padding behind it.
    pub fn split(self, out: &mut Vec<BytesMut>) -> io::Result<()> {
        if self.header.gso_type == GSO_NONE {
            return self.whole(out);
        }
        let header = self.with_true_header_length()?;
        let v6 = self.packet.first().is_some_and(|b| b >> 4 == 6);
        let payload = self
            .packet
            .len()
            .saturating_sub(usize::from(header.hdr_len));
        let size = usize::from(header.gso_size).max(1);
        let count = payload.div_ceil(size);
        let stride = usize::from(header.hdr_len) + size.min(payload);
        let first = out.len();
        for _ in 0..count {
            out.push(self.arena.take(stride));
        }
        self.sizes.resize(count, 0);
        let made = gso_split(self.packet, header, &mut out[first..], self.sizes, 0, v6)?;
        out.truncate(first + made);
        for (segment, size) in out[first..].iter_mut().zip(self.sizes.iter()) {
            segment.truncate(*size);
        }
        Ok(())
    }

    fn whole(mut self, out: &mut Vec<BytesMut>) -> io::Result<()> {
        if self.header.flags & NEEDS_CHECKSUM != 0 {
            self.finish_checksum()?;
        }
        let mut copy = self.arena.take(self.packet.len());
        copy.copy_from_slice(self.packet);
        out.push(copy);
        Ok(())
    }

    fn finish_checksum(&mut self) -> io::Result<()> {
        let start = usize::from(self.header.csum_start);
        let field = start + usize::from(self.header.csum_offset);
        if field + 2 > self.packet.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The field holds the pseudo header's sum, so it is summed with the rest.
        let checksum = match !fold(sum(&self.packet[start..], 0)) {
            0 if self.header.csum_offset == 6 => u16::MAX, // UDP: 0 would mean "none" (RFC 768)
            checksum => checksum,
        };
        self.packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }

    /// The kernel's `hdr_len` may cover more than the headers (Documentation/networking/tuntap.rst gives no promise).
    fn with_true_header_length(&self) -> io::Result<VirtioNetHdr> {
        let mut header = self.header;
        let start = usize::from(header.csum_start);
        let transport = match header.csum_offset {
            16 => self
                .packet
                .get(start + 12)
                .map(|offset| usize::from(offset >> 4) * 4),
            6 => Some(8),
            _ => None,
        };
        let len = transport.ok_or(io::ErrorKind::InvalidData)? + start;
        if len > self.packet.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        header.hdr_len = len as u16;
        Ok(header)
    }
}
