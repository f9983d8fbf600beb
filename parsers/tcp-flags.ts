const names = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'] as const

/** The byte of a TCP header that holds them: 0x12 → SYN, ACK. */
export function tcpFlagNames(flags: number): readonly string[] {
  return names.filter((_, bit) => flags & (1 << bit))
}
