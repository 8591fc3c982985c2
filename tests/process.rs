//! The program as a service: checked, started, watched and stopped.

mod check;
mod config;
mod log;
mod man;
mod reload;
mod service_user;
mod systemd;
mod telemetry;
mod telemetry_grpc;
