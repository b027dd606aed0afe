//! A histogram of latencies. Each bucket is as wide as a 64th of its values.

pub(crate) struct Hist {
    pub(crate) b: Vec<u64>,
    pub(crate) n: u64,
    pub(crate) max: u64,
    pub(crate) sum: u64,
}
impl Hist {
    pub(crate) fn new() -> Self {
        Hist { b: vec![0; 64 * 65], n: 0, max: 0, sum: 0 }
    }
    #[inline]
    pub(crate) fn idx(v: u64) -> usize {
        if v < 64 {
            return v as usize;
        }
        let e = 63 - v.leading_zeros() as usize; // >= 6
        (e - 5) * 64 + ((v >> (e - 6)) as usize & 63)
    }
    pub(crate) fn val(i: usize) -> u64 {
        if i < 64 {
            return i as u64;
        }
        let e = i / 64 + 5;
        ((64 + (i % 64)) as u64) << (e - 6)
    }
    #[inline]
    pub(crate) fn add(&mut self, v: u64) {
        self.b[Self::idx(v)] += 1;
        self.n += 1;
        self.sum += v;
        if v > self.max {
            self.max = v;
        }
    }
    pub(crate) fn q(&self, q: f64) -> f64 {
        if self.n == 0 {
            return 0.0;
        }
        let t = ((self.n as f64) * q).ceil() as u64;
        let mut c = 0;
        for (i, x) in self.b.iter().enumerate() {
            c += x;
            if c >= t {
                return Self::val(i) as f64 / 1000.0;
            }
        }
        self.max as f64 / 1000.0
    }
}
