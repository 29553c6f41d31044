//! upgrades
