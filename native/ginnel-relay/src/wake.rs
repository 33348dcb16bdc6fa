//! Event descriptors: one thread tells another, or Python, that there is something to look at.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A non-blocking event descriptor.
pub(crate) fn event() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and owned by nobody else.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a fresh descriptor that we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Make it readable.
pub(crate) fn ring(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: 8 bytes are read from a live array. It can only fail when the counter is full: then it is readable.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), 8) };
}

/// Make it silent again.
pub(crate) fn drain(fd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: 8 bytes are written into a live array. It fails when nothing rang, which is as well.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
}
