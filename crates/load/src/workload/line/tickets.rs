//! Tickets of hundreds of thousands of people.

/// Tickets in one array: as many bytes for each as the longest has.
#[derive(Default)]
pub(in crate::workload) struct Tickets {
    bytes: Vec<u8>,
    each: usize,
    lengths: Vec<u8>,
}

impl Tickets {
    pub(in crate::workload) fn get(&self, user: u32) -> &[u8] {
        let index = user as usize;
        let length = self.lengths.get(index).copied().unwrap_or(0);
        &self.bytes[(index * self.each).min(self.bytes.len())..][..length.into()]
    }

    pub(in crate::workload) fn set(&mut self, user: u32, ticket: &[u8]) {
        let index = user as usize;
        // A ticket too long to be kept is sent back cut, and refused for all to see.
        let ticket = &ticket[..ticket.len().min(255)];
        if ticket.len() > self.each {
            self.widen(ticket.len());
        }
        if index >= self.lengths.len() {
            self.lengths.resize(index + 1, 0);
            self.bytes.resize((index + 1) * self.each, 0);
        }
        self.lengths[index] = ticket.len() as u8;
        self.bytes[index * self.each..][..ticket.len()].copy_from_slice(ticket);
    }

    fn widen(&mut self, each: usize) {
        let mut bytes = vec![0; self.lengths.len() * each];
        for (index, length) in self.lengths.iter().enumerate() {
            let length = usize::from(*length);
            bytes[index * each..][..length].copy_from_slice(&self.bytes[index * self.each..][..length]);
        }
        (self.bytes, self.each) = (bytes, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_any_length_are_kept() {
        let mut tickets = Tickets::default();
        for (user, length) in [(5, 10), (2, 60), (9, 3), (2, 20), (7, 255), (8, 300)] {
            tickets.set(user, &vec![b'a' + user as u8; length]);
        }
        for (user, length) in [(5, 10), (9, 3), (2, 20), (7, 255), (8, 255), (0, 0), (4_000, 0)] {
            assert_eq!(tickets.get(user), vec![b'a' + (user % 26) as u8; length]);
        }
    }
}
