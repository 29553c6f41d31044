//! Load balancing. Each balancer has its own file and returns candidates in the order of trying.

mod round_robin;

pub(crate) use round_robin::RoundRobin;
