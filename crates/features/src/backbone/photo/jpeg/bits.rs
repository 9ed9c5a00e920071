//! The bits of a scan, and Huffman tables that read them.

/// Why a picture is followed no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are no more bytes.
    Over,
    /// The bytes are not what must come here.
    Broken,
    /// A kind of picture that is not followed, or a header that makes no sense.
    Unknown,
}

/// The first marker among bytes, and how many lead up to it and hold it.
pub(super) fn next_marker(bytes: &[u8]) -> Option<(usize, u8)> {
    let mut pairs = bytes.windows(2);
    let at = pairs.position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((at + 2, bytes[at + 1]))
}

/// The bits between two markers.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Behind the bytes that are held.
    at: usize,
    /// The next bits, from the highest; zeros below them.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// The bits from a place on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            held: 0,
            count: 0,
        }
    }

    /// Where the next bits are, no more than eight zero bytes of stuffing off. It is never behind
    /// the next marker.
    pub(super) fn at(&self) -> usize {
        self.at - self.count as usize / 8
    }

    /// Goes behind the next marker, which must be a restart.
    pub(super) fn restart(&mut self) -> Result<(), Stop> {
        (self.held, self.count) = (0, 0);
        match next_marker(&self.bytes[self.at..]) {
            Some((length, 0xd0..=0xd7)) => {
                self.at += length;
                Ok(())
            }
            Some(_) => Err(self.stop()),
            None => {
                self.at = self.bytes.len();
                Err(Stop::Over)
            }
        }
    }

    /// The value of the next code.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Stop> {
        self.fill();
        let (length, value) = table.0[(self.held >> 48) as usize];
        if length == 0 && self.count >= 16 {
            return Err(Stop::Broken);
        }
        if length == 0 || u32::from(length) > self.count {
            return Err(self.stop());
        }
        self.held <<= length;
        self.count -= u32::from(length);
        Ok(value)
    }

    /// The next bits as a number; at most 16.
    pub(super) fn number(&mut self, bits: u8) -> Result<u32, Stop> {
        self.fill();
        let bits = u32::from(bits.min(16));
        if bits > self.count {
            return Err(self.stop());
        }
        let number = (self.held >> 48) as u32 >> (16 - bits);
        self.held <<= bits;
        self.count -= bits;
        Ok(number)
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let (byte, length) = match self.bytes[self.at..] {
                [0xff, 0x00, ..] => (0xff, 2),
                [] | [0xff, ..] => return,
                [byte, ..] => (byte, 1),
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += length;
        }
    }

    /// What it means that bits are missing: the picture is over, or something else stands here.
    fn stop(&mut self) -> Stop {
        match next_marker(&self.bytes[self.at..]) {
            None => {
                self.at = self.bytes.len();
                Stop::Over
            }
            Some((_, super::END_OF_IMAGE)) => Stop::Over,
            Some(_) => Stop::Broken,
        }
    }
}

/// Length and value of the code that 16 bits begin with; length 0 where there is none.
pub(super) struct Table(Box<[(u8, u8)]>);

impl Table {
    /// Reads a table, and returns what follows it.
    pub(super) fn read(content: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, mut rest) = content.split_first_chunk::<16>()?;
        let mut entries = Vec::with_capacity(1 << 16);
        for (length, &count) in (1..).zip(counts) {
            let (values, others) = rest.split_at_checked(usize::from(count))?;
            for &value in values {
                // All that begins with the code.
                let end = entries.len() + (1 << (16 - length));
                entries.resize(end, (length, value));
            }
            rest = others;
        }
        (entries.len() <= 1 << 16).then(|| {
            entries.resize(1 << 16, (0, 0));
            (Self(entries.into()), rest)
        })
    }
}
