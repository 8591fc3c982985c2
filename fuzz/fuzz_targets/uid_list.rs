//! A file of any octets, read as Dovecot's and as Courier's list of unique-ids: nothing panics, and no two messages
//! have the same place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| restante::fuzzing::uid_list(input));
