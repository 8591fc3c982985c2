//! The program as whoever runs it for years meets it: checked, started, watched and stopped.

mod check;
mod config;
mod log;
mod man;
mod reload;
mod service_user;
mod systemd;
mod telemetry;
