//! The settings of LMTP.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::section::section;
use super::types::FileMode;

section! {
    /// Delivery over LMTP.
    pub struct LmtpSettings in "lmtp" {
        /// The address to listen on.
        restart bind_address: IpAddr = Ipv4Addr::LOCALHOST.into();
        /// The port to listen on; 0 is off.
        restart port: u16 = 0;
        /// The Unix socket to listen on.
        restart socket_path: Option<PathBuf> = None;
        /// The mode of the socket's file: it limits the users that can connect.
        restart socket_mode: FileMode = FileMode(0o660);
        /// The largest number of sessions.
        restart max_connections: u32 = 100,
            refuse |most| *most == 0 => "0 would let no MTA in; the least is 1";
        /// The largest message that is taken, in octets.
        restart max_message_size: u64 = 50 * 1024 * 1024,
            refuse |most| *most == 0 => "0 would refuse every message; give a size such as 50MiB";
        /// How long a client may be silent.
        restart session_timeout: Duration = Duration::from_secs(5 * 60),
            refuse Duration::is_zero => "0 would end every session at once; give a time such as 5m";
    }
}

impl LmtpSettings {
    /// Returns whether there is anything to listen on.
    pub fn is_on(&self) -> bool {
        self.port != 0 || self.socket_path.is_some()
    }

    /// Returns the largest number of sessions, which is 0 if LMTP is off.
    pub fn sessions(&self) -> u32 {
        u32::from(self.is_on()) * self.max_connections
    }
}
