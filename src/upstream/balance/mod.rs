//! Which endpoint a request goes to. A balancer a file; each answers candidates in the order of trying.

mod round_robin;

pub(crate) use round_robin::RoundRobin;
