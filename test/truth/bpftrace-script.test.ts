import { afterAll, beforeAll, expect, test } from 'vitest'
import type { BpftraceValue } from '../../parsers/bpftrace-json.ts'
import type { BpftraceScript } from '../../parsers/bpftrace-script.ts'
import { requireBpftrace, startBpftrace } from './bpftrace.ts'
import { stormSize } from './events.ts'
import { createTopology, type Topology } from './topology.ts'

const first = 20_000

/** What both scripts look at: UDP dropped in the namespace. */
const header = (inode: number) => `
tracepoint:skb:kfree_skb
/ args->protocol == 0x0800 /   // IPv4
{
  $skb = (struct sk_buff *)args->skbaddr;
  $ip = (struct iphdr *)($skb->head + $skb->network_header);
  $at = $skb->head + $skb->network_header + 20;
  $port = *(uint8*)($at + 2) * 256 + *(uint8*)($at + 3);
  if ($skb->dev->nd_net.net->ns.inum == ${inode} && $ip->protocol == 17 && $port >= ${first}) {`

const scripts = (inode: number): BpftraceScript[] => [
  {
    name: 'ports.bt',
    text: `BEGIN { $what = 1; @own = $what }
${header(inode)}
    @drops[$port] = count(); /* the one
      that matters */
    @total = count();
    @seen++;
    @last = $port;
    @own = @own + 1;
  }
}
END { $what = "a string"; printf("%s {\\n", $what) }`,
    maps: [
      { name: 'drops', reads: 'flip' },
      { name: 'total', reads: 'flip' },
      { name: 'last', reads: 'keep' },
    ],
  },
  {
    name: 'lengths.bt',
    text: `BEGIN { $what = "another type"; }
${header(inode)}
    @drops["}", 4] = count();
    @bytes = sum($skb->len);
    @lengths[$ip->protocol] = hist($skb->len);
    @ports = lhist($port, ${first}, ${first + 5000}, 1000);
    @stats[$ip->protocol, "udp"] = stats($skb->len)
  }
}`,
    maps: ['drops', 'bytes', 'lengths', 'ports', 'stats'].map((name) => ({ name, reads: 'flip' as const })),
  },
]

requireBpftrace('scripts combined lose no count between reading and clearing', () => {
  let net: Topology
  beforeAll(async () => {
    net = await createTopology('nvc-scripts')
    net.exec(net.a, 'iptables', '-w', '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '-j', 'DROP')
  })
  afterAll(() => net?.dispose())

  const length = 28 + 32

  test.each([
    { signal: 'SIGINT', ports: 3000, intervalMs: 200 },
    { signal: 'SIGTERM', ports: 3, intervalMs: 100 },
    // It cannot print for many intervals, between which the halves must not be swapped. At the end it is about to print:
    // what it has printed by then, and not cleared, comes once more.
    { signal: 'SIGTERM', ports: 3000, intervalMs: 20, pauseMs: 700 },
  ] as const)('$ports keys every $intervalMs ms, the rest at $signal', async ({ signal, ports, intervalMs, ...options }) => {
    const bpftrace = await startBpftrace(scripts(net.a.inode), intervalMs)
    let sent = 0
    let missed = 0
    try {
      for (let round = 0; round < 5; round++) {
        const count = Math.ceil(stormSize(100_000) / ports) * ports
        const paused = 'pauseMs' in options ? bpftrace.pause(options.pauseMs) : undefined
        const result = await net.run<{ sent: number }>(net.a, 'udp-send', { address: '127.0.0.1', port: first, ports, count })
        sent += result.sent
        await paused
        if (round === 2) await bpftrace.readings(2)
      }
      missed = bpftrace.missed()
    } finally {
      await bpftrace.stop(signal)
    }
    const value = (map: string, key = ''): BpftraceValue | undefined => bpftrace.read.get(map)?.get(key)
    const drops = bpftrace.read.get('0 drops')!
    const total = [...drops.values()].reduce<number>((sum, one) => sum + (one as number), 0)
    if (process.env.DEBUG) console.log({ sent, missed, total, prints: bpftrace.prints('0 drops') })
    expect(bpftrace.prints('0 drops')).toBeGreaterThanOrEqual(2)
    // Where the kernel left programs out, nobody is to blame for what is missing.
    expect({ total, missed }).toEqual({ total: sent, missed: 0 })
    expect(drops.size).toBe(ports)
    expect(new Set(drops.values())).toEqual(new Set([sent / ports]))
    expect(value('0 total')).toBe(sent)
    expect(value('0 last')).toBe(first + ports - 1)
    expect([...bpftrace.read.keys()].sort()).toEqual(
      ['0 drops', '0 last', '0 total', '1 bytes', '1 drops', '1 lengths', '1 ports', '1 stats'].sort(),
    )
    expect(value('1 drops', '},4')).toBe(sent)
    expect(value('1 bytes')).toBe(sent * length)
    expect(value('1 lengths', '17')).toEqual({ buckets: [{ min: 32, max: 63, count: sent }] })
    expect((value('1 ports') as { buckets: { min?: number; count: number }[] }).buckets.filter(({ count }) => count > 0)).toEqual(
      Array.from({ length: Math.ceil(ports / 1000) }, (_, i) => ({
        min: first + i * 1000,
        max: first + i * 1000 + 999,
        count: (sent / ports) * Math.min(1000, ports),
      })),
    )
    expect(value('1 stats', '17,udp')).toEqual({ count: sent, total: sent * length, average: length })
  })
})
