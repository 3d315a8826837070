//! rankio: an MPI-native storage benchmark for AI.

pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod format;
pub mod host;
pub mod metrics;
pub mod plan;
pub mod report;
pub mod storage;
pub mod workload;
pub mod world;
