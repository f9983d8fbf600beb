import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { type Config, commands, readConfig, readFilters, readVersion } from '../../agent/config.ts'
import { ConfigError } from '../../agent/config-file.ts'

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-config-'))
afterAll(() => fs.rmSync(directory, { recursive: true }))

function writeFile(text: string): string {
  const file = path.join(directory, 'netvitals.yaml')
  fs.writeFileSync(file, text)
  return file
}

function read(argv: string[] = [], environment: Record<string, string> = {}): Config {
  const config = readConfig(argv, environment)
  if ('print' in config) throw new Error(`asked to print ${config.print}`)
  return config
}

function complaint(argv: string[], environment: Record<string, string> = {}): string {
  try {
    readConfig(argv, environment)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as Error).message
  }
  throw new Error('no complaint')
}

const filtersOfObserve = [
  ...['type', 'pod', 'from-pod', 'to-pod', 'namespace', 'ip', 'from-ip', 'to-ip', 'port', 'protocol'],
  ...['reason', 'category', 'kind', 'outcome', 'rcode', 'qtype', 'name', 'status', 'method', 'path'],
]
const filters = [...filtersOfObserve, 'pcap.pod', 'sockets.pod', 'sockets.namespace', 'state', 'process', 'peer', 'workload']

describe('defaults', () => {
  it('serve on this machine only', () => {
    expect(read()).toEqual({
      command: 'serve',
      'web.listen-address': { host: '127.0.0.1', port: 10477 },
      'web.config.file': '',
      'web.socket': '/run/netvitals/agent.sock',
      'web.new-series-zero-seconds': 'auto',
      'sources.off': [],
      'capture.dns-ports': [53],
      'capture.http-ports': [],
      apiServer: undefined,
      'identity.pods': 'auto',
      'identity.pods-file': '',
      'identity.peers': 'off',
      'identity.networks': [],
      'kubernetes.node': '',
      'kubernetes.kubelet': { host: '127.0.0.1', port: 10250 },
      'kubernetes.kubelet-verify': 'on',
      'tools.retransmits.command': [],
      'tools.retransmits.file': '',
      'tools.drops.command': [],
      'tools.drops.file': '',
      'tools.connects.command': [],
      'tools.connects.file': '',
      scripts: [],
      interval: 15,
      for: 'auto',
      pcap: '',
      'pcap.filter': '',
      'pcap.snap': 256,
      'pcap.bytes': 100e6,
      'pcap.packets': 1e6,
      'pcap.force': false,
      'replay.output': 'metrics',
      files: [],
      'log.level': 'info',
      'config.file': '',
      root: '/',
      format: 'text',
      output: 'text',
      require: [],
      'observe.output': 'compact',
      follow: false,
      last: 'auto',
      since: Number.NEGATIVE_INFINITY,
      'sockets.output': 'table',
      'edges.output': 'table',
      each: false,
      top: 'auto',
      filters: [],
      ...Object.fromEntries(filters.map((name) => [name, { only: [], not: [] }])),
      terminal: { colour: true, unicode: false },
    })
  })

  it('are frozen, deeply', () => {
    const config = read()
    expect(Object.isFrozen(config)).toBe(true)
    for (const value of Object.values(config)) expect(Object.isFrozen(value)).toBe(true)
    const { only, not } = read(['observe', '--port', '1', '--not', '--port', '2']).port
    expect([Object.isFrozen(only), Object.isFrozen(not)]).toEqual([true, true])
  })

  it('log less when a command runs once', () => {
    expect(read(['sweep'])['log.level']).toBe('error')
    expect(read(['check'])['log.level']).toBe('silent')
    expect(read(['check'], { NETVITALS_LOG_LEVEL: 'debug' })['log.level']).toBe('debug')
  })
})

describe('precedence', () => {
  it('is flag, variable, file, default', () => {
    const file = writeFile('log:\n  level: debug\nweb:\n  socket: /from/file\n  listen-address: :1\n')
    const environment = { NETVITALS_CONFIG_FILE: file, NETVITALS_LOG_LEVEL: 'warn', NETVITALS_WEB_SOCKET: '/from/variable' }
    const config = read(['--log.level', 'error'], environment)
    expect(config['log.level']).toBe('error')
    expect(config['web.socket']).toBe('/from/variable')
    expect(config['web.listen-address']).toEqual({ host: undefined, port: 1 })
    expect(config['web.new-series-zero-seconds']).toBe('auto')
  })

  it('lets an empty variable switch the socket off', () => {
    expect(read([], { NETVITALS_WEB_SOCKET: '' })['web.socket']).toBe('')
  })
})

describe('--web.listen-address', () => {
  it.each([
    ['127.0.0.1:10477', { host: '127.0.0.1', port: 10477 }],
    ['[::]:10477', { host: '::', port: 10477 }],
    ['[fe80::1%eth0]:80', { host: 'fe80::1%eth0', port: 80 }],
    [':10477', { host: undefined, port: 10477 }],
    ['node-1.example.org:0', { host: 'node-1.example.org', port: 0 }],
  ])('%s', (text, address) => {
    expect(read([`--web.listen-address=${text}`])['web.listen-address']).toEqual(address)
    expect(read(['--web.listen-address', text])['web.listen-address']).toEqual(address)
  })

  it.each(['10477', 'localhost', '::1:80', 'a:65536', 'a b:1', ':', 'http://a:1', '', '[zz]:1'])('not %s', (text) => {
    expect(complaint([`--web.listen-address=${text}`])).toBe(
      `--web.listen-address: expected HOST:PORT, [IPv6]:PORT or :PORT for every address, such as 127.0.0.1:10477; it is ${JSON.stringify(text)}`,
    )
  })
})

describe('other values', () => {
  it.each([
    ['auto', 'auto'],
    ['0', 0],
    ['65', 65],
    ['1.5', 1.5],
  ])('--web.new-series-zero-seconds %s', (text, value) => {
    expect(read(['--web.new-series-zero-seconds', text])['web.new-series-zero-seconds']).toBe(value)
  })

  it.each(['-1', '', '65s', 'Infinity', '1e3', 'true'])('not --web.new-series-zero-seconds %s', (text) => {
    expect(complaint([`--web.new-series-zero-seconds=${text}`])).toContain('expected auto, or seconds such as 65, or 0 for never')
  })

  it('takes names with commas, or a list in a file', () => {
    expect(read(['--sources.off', ' proc-snmp , trace-drops,'])['sources.off']).toEqual(['proc-snmp', 'trace-drops'])
    const file = writeFile('sources:\n  off: [proc-snmp, trace-drops]\nweb:\n  new-series-zero-seconds: 20\n')
    const config = read(['--config.file', file])
    expect(config['sources.off']).toEqual(['proc-snmp', 'trace-drops'])
    expect(config['web.new-series-zero-seconds']).toBe(20)
  })

  it('says which variable is wrong', () => {
    expect(complaint([], { NETVITALS_LOG_LEVEL: 'loud' })).toBe(
      'NETVITALS_LOG_LEVEL: expected one of debug, info, warn, error, silent; it is "loud"',
    )
  })
})

describe('commands', () => {
  it('have flags of their own', () => {
    expect(read(['sweep', '--root', '/saved', '--format', 'openmetrics'])).toMatchObject({
      command: 'sweep',
      root: '/saved',
      format: 'openmetrics',
    })
    expect(read(['check', '-o', 'json', '--require=trace-drops,netvitals_tcp_sockets'])).toMatchObject({
      command: 'check',
      output: 'json',
      require: ['trace-drops', 'netvitals_tcp_sockets'],
    })
    expect(read(['--root=/saved', 'sweep']).root).toBe('/saved')
  })

  it.each<[string[], string]>([
    [['swep'], '"swep" is no command; there are serve, sweep, check, prove, observe, record, replay, show sockets, show edges'],
    [['show'], '"show" is no command; there are show sockets, show edges'],
    [['show', 'pods', 'x'], '"show pods" is no command; there are show sockets, show edges'],
    [['show', 'sockets', 'x'], '"x" is one argument too many; see netvitals show sockets --help'],
    [['check', 'now'], '"now" is one argument too many; see netvitals check --help'],
    [['--root', '/saved'], '--root is a flag of sweep, check, not of serve; see netvitals --help'],
    [['check', '--web.listen-adress=:1'], '--web.listen-adress is no flag; see netvitals check --help'],
    [['-x'], '-x is no flag; see netvitals --help'],
    [['--log.level'], '--log.level needs a value: --log.level LEVEL'],
    [['--log.level', '--help'], '--log.level needs a value: --log.level LEVEL'],
    [['--log.level=info', '--log.level=debug'], '--log.level is given twice; give it once'],
    [['check', '-o', 'xml'], '-o: expected text or json; it is "xml"'],
    [['sweep', '--root='], '--root: expected a directory; it is ""'],
  ])('%j', (argv, message) => {
    expect(complaint(argv)).toBe(message)
  })
})

describe('the flags of observe', () => {
  it('may have no value, or be one letter', () => {
    expect(read(['observe', '-f'])).toMatchObject({ follow: true, 'observe.output': 'compact', output: 'text' })
    expect(read(['observe', '--follow', '-o', 'table'])).toMatchObject({ follow: true, 'observe.output': 'table' })
    expect(read(['observe', '-fo', 'json'])).toMatchObject({ follow: true, 'observe.output': 'json' })
    expect(read(['check', '-o', 'json'])).toMatchObject({ 'observe.output': 'compact', output: 'json' })
  })

  it('that filter may be repeated, and negated one by one', () => {
    const config = read(['observe', '-t', 'drop', '--not', '--port', '22,80-90', '--type', 'reset', '--port', '443'])
    expect(config.type).toEqual({ only: ['drop', 'reset_sent', 'reset_received'], not: [] })
    expect(config.port).toEqual({
      only: [{ first: 443, last: 443 }],
      not: [
        { first: 22, last: 22 },
        { first: 80, last: 90 },
      ],
    })
    expect(read(['--not', '--protocol', 'UDP, icmp', 'observe']).protocol).toEqual({ only: [], not: ['udp', 'icmp'] })
  })

  it('say how much', () => {
    expect(read(['observe', '--last', '0']).last).toBe(0)
    expect(read(['observe', '--last', '50']).last).toBe(50)
    expect(read(['observe', '--since', '2026-11-26T18:20:01.5Z']).since).toBe(Date.UTC(2026, 10, 26, 18, 20, 1, 500))
    expect(read(['observe', '--since', '2026-11-26T18:20']).since).toBe(new Date(2026, 10, 26, 18, 20).getTime())
    expect(read(['observe', '--since', '2026-11-26']).since).toBe(new Date(2026, 10, 26).getTime())
    for (const [text, seconds] of [
      ['30s', 30],
      ['5m', 300],
      ['2h', 7200],
      ['1d', 86_400],
    ] as const)
      expect(Math.abs(Date.now() - seconds * 1000 - read(['observe', '--since', text]).since)).toBeLessThan(1000)
  })

  it.each<[string[], string]>([
    [
      ['-t', 'dropp'],
      '-t: expected drop, reset_sent, reset_received, retransmit, connect, dns, http, or reset for both kinds, with commas',
    ],
    [['--type='], '--type: expected drop'],
    [['--type', 'drop,,connect'], '--type: expected drop'],
    [['--pod', 'a/b/c'], '--pod: expected POD, NAMESPACE/POD, NAMESPACE/, @netns/NAME, or host'],
    [['--pod', '/a'], '--pod: expected POD'],
    [['--pod', '/'], '--pod: expected POD'],
    [['--pod', 'a b'], '--pod: expected POD'],
    [['--to-pod', ','], '--to-pod: expected POD'],
    [['-n', 'shop/'], '-n: expected namespaces, or @netns for named network namespaces'],
    [['--ip', '10.0.0.0/33'], '--ip: expected addresses or networks, such as 10.0.0.7 or 2001:db8::/32'],
    [['--ip', '10.0.0'], '--ip: expected addresses'],
    [['--ip', '10.0.0.1/'], '--ip: expected addresses'],
    [['--ip', '10.0.0.1/8/8'], '--ip: expected addresses'],
    [['--ip', '2001:db8::/129'], '--ip: expected addresses'],
    [['--ip', 'fe80::1%eth0'], '--ip: expected addresses'],
    [['--from-ip', 'shop'], '--from-ip: expected addresses'],
    [['--port', '65536'], '--port: expected ports or ranges, such as 80,443,30000-32767; it is "65536"'],
    [['--port', '90-80'], '--port: expected ports'],
    [['--port', 'http'], '--port: expected ports'],
    [['--protocol', 'sctp'], '--protocol: expected tcp, udp, icmp, other, with commas between them; it is "sctp"'],
    [['--reason', 'a-b'], "--reason: expected the kernel's names, such as netfilter_drop or tcp_*"],
    [['--category', 'none'], '--category: expected netfilter, no_socket, '],
    [['--kind', 'drop'], '--kind: expected fast, timeout, probe, syn, synack'],
    [['--outcome', 'connected'], '--outcome: expected refused, timed_out, '],
    [['--rcode', '2'], '--rcode: expected DNS response codes, such as NXDOMAIN or SERVFAIL, or unanswered, with commas'],
    [['--rcode', 'NXDOMIAN'], '--rcode: expected DNS response codes'],
    [['--qtype', 'AAAAA'], '--qtype: expected types of DNS records, such as A, AAAA or TYPE64, with commas'],
    [['--qtype', 'TYPE70000'], '--qtype: expected types'],
    [['--name', 'a b'], '--name: expected DNS names, such as db.shop.svc.cluster.local or *.example.com, with commas'],
    [['--dns=A'], '--dns takes no value'],
    [['--status', '5x'], '--status: expected HTTP status codes, such as 503 or 4xx, or unanswered, with commas between them'],
    [['--status', '600'], '--status: expected HTTP status codes'],
    [['--method', 'GOT'], '--method: expected GET, POST, HEAD, PUT, DELETE, OPTIONS, PATCH, CONNECT, TRACE, other, with commas'],
    [['--path', '/cart?token=1'], '--path: expected paths without a query, such as /cart or /api/*, with commas'],
    [['--last', 'x'], '--last: expected auto, or a number such as 50; it is "x"'],
    [['--last', '-5'], '--last needs a value: --last NUMBER'],
    [['--since', 'yesterday'], '--since: expected how long ago, such as 30s, 5m, 2h or 1d, or a time, such as 2026-11-26'],
    [['--since', '2026-13-01'], '--since: expected'],
    [['-o', 'xml'], '-o: expected compact, table or json; it is "xml"'],
    [['--follow=yes'], '--follow takes no value'],
    [['-f', '-f'], '-f is given twice; give it once'],
    [['--not'], '--not stands before a filter, such as --not --port 22; see netvitals observe --help'],
    [['--not', '-f'], '--not stands before a filter'],
    [['--not', '--not', '--port', '22'], '--not stands before a filter'],
    [['--not=x', '--port', '22'], '--not stands before a filter'],
    [['--port', '22', '--not'], '--not stands before a filter'],
    [['--not', '--ports', '22'], '--ports is no flag; see netvitals observe --help'],
    [['--root', '/'], '--root is a flag of sweep, check, not of observe; see netvitals observe --help'],
  ])('%j: %s', (argv, message) => {
    const said = complaint(['observe', ...argv])
    expect(said.slice(0, message.length)).toBe(message)
  })

  it('have one for HTTP', () => {
    expect(read(['observe', '--http'])).toEqual(read(['observe', '-t', 'http']))
  })

  it('have a short form for DNS', () => {
    const byName = read(['observe', '--not', '-t', 'dns', '--last', '3'])
    expect(read(['observe', '--not', '--dns', '--last', '3'])).toEqual(byName)
    expect(read(['observe', '--dns', '--type', 'drop']).type.only).toEqual(['dns', 'drop'])
    expect(complaint(['check', '--dns'])).toBe('--dns is a flag of observe, replay, not of check; see netvitals check --help')
    const help = readConfig(['observe', '--help'], {})
    expect('print' in help && help.print).toContain('  --dns\n      short for --type dns\n')
  })

  it('are of observe alone', () => {
    expect(complaint(['check', '--pod', 'x'])).toBe(
      '--pod is a flag of record, observe, show sockets, not of check; see netvitals check --help',
    )
    expect(complaint(['-o', 'json'])).toMatch(
      /^-o is a flag of .*\bobserve, show sockets, show edges, not of serve; see netvitals --help$/,
    )
    expect(complaint(['serve', '--not', '--pod', 'x'])).toContain('--pod is a flag of record, observe')
    expect(complaint([], { NETVITALS_POD: 'x' })).toContain('NETVITALS_POD is no variable')
  })
})

describe('the flags of show sockets', () => {
  it('filter, each as it was given for another process too', () => {
    const given = ['--state', 'close-wait,LISTEN', '--not', '--port', '22', '--pod', 'shop/', '--process', '4211,java*']
    const config = read(['show', 'sockets', ...given])
    expect(config.command).toBe('show sockets')
    expect(config.state).toEqual({ only: ['close_wait', 'listen'], not: [] })
    expect(config.process.only).toEqual([4211, /^java.*$/s])
    expect(config['sockets.pod'].only).toHaveLength(1)
    expect(config.pod).toEqual({ only: [], not: [] })
    expect(config.filters).toEqual([
      { flag: 'port', text: '22', isNot: true },
      { flag: 'pod', text: 'shop/', isNot: false },
      { flag: 'state', text: 'close-wait,LISTEN', isNot: false },
      { flag: 'process', text: '4211,java*', isNot: false },
    ])
    expect(readFilters('show sockets', config.filters)).toEqual(
      Object.fromEntries(filters.map((name) => [name, config[name as 'state']])),
    )
  })

  it.each<[string, string, string]>([
    ['type', 'drop', '"type" is no filter of show sockets'],
    ['config.file', '/etc/shadow', '"config.file" is no filter of show sockets'],
    ['top', '5', '"top" is no filter of show sockets'],
    ['state', 'closed', 'state: expected established, syn_sent, '],
  ])('not %s=%s', (flag, text, message) => {
    expect(() => readFilters('show sockets', [{ flag, text, isNot: false }])).toThrow(message)
  })

  it('say how much', () => {
    expect(read(['show', 'sockets', '--top', '5', '--each']).top).toBe(5)
    expect(read(['show', 'sockets', '--top', 'all']).top).toBe(Number.POSITIVE_INFINITY)
    expect(complaint(['show', 'sockets', '--top', '0'])).toContain('--top: expected auto, all, or a number such as 50')
    expect(complaint(['show', 'sockets', '--process', ''])).toContain('--process: expected names of processes')
  })
})

describe('the flags of record --pcap', () => {
  it('say whose packets, which, how much of them, and how many', () => {
    const config = read([
      'record',
      '--pcap',
      'f',
      '--pod',
      'shop/',
      '--filter',
      '(port 53) or tcp',
      '--snap',
      '0',
      '--pcap.bytes',
      '2GB',
    ])
    expect(config).toMatchObject({ pcap: 'f', 'pcap.filter': '(port 53) or tcp', 'pcap.snap': 262_144, 'pcap.bytes': 2e9 })
    expect(config['pcap.pod'].only).toHaveLength(1)
    expect(read(['record', '--for', 'ever']).for).toBe(Number.POSITIVE_INFINITY)
    expect(read(['record', '--for', '2m']).for).toBe(120)
  })

  it.each([
    ['--filter', 'port 53) or (tcp', 'expected as many ( as ), each ) after its (; it is "port 53) or (tcp"'],
    ['--filter', '((port 53)', 'expected as many ( as )'],
    ['--snap', '63', 'expected 64 to 262144 bytes, or 0 for whole packets'],
    ['--snap', '262145', 'expected 64 to 262144 bytes'],
    ['--pcap.bytes', '0', 'expected a number of bytes, such as 500kB, 100MB or 2GB'],
    ['--pcap.bytes', '5 MB', 'expected a number of bytes'],
    ['--pcap.packets', '-1', 'needs a value'],
    ['--pcap.packets', '1.5', 'expected a number of packets'],
    ['--for', 'soon', 'expected how long, such as 30s, 5m, 2h or 1d, ever, or auto'],
  ])('%s %s: %s', (flag, value, message) => expect(complaint(['record', '--pcap', 'f', flag, value])).toContain(message))
})

describe('the file', () => {
  it('may be empty, and may have empty parts', () => {
    expect(read(['--config.file', writeFile('')])['log.level']).toBe('info')
    expect(read(['--config.file', writeFile('# nothing yet\nweb:\n')])['log.level']).toBe('info')
  })

  it.each<[string, string]>([
    [
      'web:\n  listen-adress: :1\n',
      ':2: web.listen-adress is no setting; there are web.listen-address, web.config.file, web.socket, ',
    ],
    ['web:\n  config:\n    fil: x\n', ':3: web.config.fil is no setting; there are web.config.file'],
    ['# c\nweb: 5\n', ':2: web is no setting; there are web.listen-address, '],
    ['colour: red\n', ':1: colour is no setting; there are web.listen-address, '],
    ['config:\n  file: other\n', ':1: config is no setting'],
    ['root: /saved\n', ':1: root is no setting'],
    ['web.socket: /flat\n', ':1: web.socket is no setting'],
    ['log:\n\n  level: loud\n', ':3: log.level: expected one of debug, info, warn, error, silent; it is "loud"'],
    ['web:\n  socket: [a]\n', ':2: web.socket: expected the name of a file; it is ["a"]'],
    ['web:\n  new-series-zero-seconds: -1\n', ':2: web.new-series-zero-seconds: expected auto'],
    ['log:\n  level: info\n  level: debug\n', ':3: not valid YAML: Map keys must be unique'],
    ['- web\n', ':1: expected a mapping (key: value)'],
    ['web: {socket: "a\n', ': not valid YAML'],
    ['a: &a [1]\nb: *missing\n', ': not valid YAML'],
  ])('%j', (text, message) => {
    const file = writeFile(text)
    const said = complaint(['--config.file', file])
    expect(said.startsWith(file)).toBe(true)
    expect(said).toContain(message)
  })

  it('must be there, a file, and of bounded size', () => {
    expect(complaint(['--config.file', '/nowhere/x.yaml'])).toBe('/nowhere/x.yaml: cannot be read: it does not exist')
    expect(complaint(['--config.file', directory])).toBe(`${directory}: cannot be read: it is not a regular file`)
    expect(complaint(['--config.file', writeFile('#'.repeat((1 << 20) + 1))])).toContain('larger than')
  })

  it('does not unfold a bomb of aliases', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      ...'bcdefgh'.split('').map((name, i) => `${name}: &${name} [${Array(10).fill(`*${'abcdefgh'[i]}`)}]`),
    ]
    expect(complaint(['--config.file', writeFile(bomb.join('\n'))])).toContain('not valid YAML')
  })
})

describe('variables', () => {
  it('that do not exist are errors, for they would silently do nothing', () => {
    expect(complaint([], { NETVITALS_WEB_LISTEN_ADRESS: ':1' })).toBe(
      'NETVITALS_WEB_LISTEN_ADRESS is no variable of netvitals; there are NETVITALS_WEB_LISTEN_ADDRESS, NETVITALS_WEB_CONFIG_FILE, NETVITALS_WEB_SOCKET, NETVITALS_WEB_NEW_SERIES_ZERO_SECONDS, NETVITALS_SOURCES_OFF, NETVITALS_CAPTURE_DNS_PORTS, NETVITALS_CAPTURE_HTTP_PORTS, NETVITALS_TOOLS_RETRANSMITS_COMMAND, NETVITALS_TOOLS_RETRANSMITS_FILE, NETVITALS_TOOLS_DROPS_COMMAND, NETVITALS_TOOLS_DROPS_FILE, NETVITALS_TOOLS_CONNECTS_COMMAND, NETVITALS_TOOLS_CONNECTS_FILE, NETVITALS_IDENTITY_PODS, NETVITALS_IDENTITY_PODS_FILE, NETVITALS_KUBERNETES_KUBELET, NETVITALS_KUBERNETES_KUBELET_VERIFY, NETVITALS_IDENTITY_PEERS, NETVITALS_KUBERNETES_NODE, NETVITALS_LOG_LEVEL, NETVITALS_CONFIG_FILE',
    )
  })

  it('that Kubernetes makes for a Service called netvitals are none of ours', () => {
    const environment = {
      NETVITALS_SERVICE_HOST: '10.0.0.1',
      NETVITALS_SERVICE_PORT: '10477',
      NETVITALS_SERVICE_PORT_METRICS: '10477',
      NETVITALS_PORT: 'tcp://10.0.0.1:10477',
      NETVITALS_PORT_10477_TCP: 'tcp://10.0.0.1:10477',
      NETVITALS_PORT_10477_TCP_PROTO: 'tcp',
      NETVITALS_PORT_10477_TCP_PORT: '10477',
      NETVITALS_PORT_10477_TCP_ADDR: '10.0.0.1',
      NETVITALS_WEB_SERVICE_HOST: '10.0.0.2',
    }
    expect(read([], environment)).toEqual(read())
  })

  it('tell what the terminal takes', () => {
    expect(read([], { NO_COLOR: '1', LANG: 'C.UTF-8' }).terminal).toEqual({ colour: false, unicode: true })
    expect(read([], { TERM: 'dumb', LC_ALL: 'C', LANG: 'en_GB.UTF-8' }).terminal).toEqual({ colour: false, unicode: false })
    expect(read([], { NO_COLOR: '' }).terminal.colour).toBe(true)
  })
})

describe('--help', () => {
  const print = (...argv: string[]): string => (readConfig(argv, {}) as { print: string }).print

  it('shows every flag of the command with its variable and default, within the width of a terminal', () => {
    const text = print('--help')
    for (const command of Object.keys(commands)) expect(text).toContain(`\n  ${command}`)
    expect(text).toContain('--web.listen-address HOST:PORT')
    expect(text).toContain('(default 127.0.0.1:10477, variable NETVITALS_WEB_LISTEN_ADDRESS)')
    expect(text).not.toContain('--require')
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
  })

  it('of a command shows its flags and no others', () => {
    const text = print('check', '-h')
    expect(text).toContain('-o, --output FORMAT')
    expect(text).toContain('--require NAMES')
    expect(text).toContain('default silent')
    expect(text).not.toContain('--web.listen-address')
  })

  it('of observe has its filters apart, with --not before them', () => {
    const text = print('observe', '--help')
    const [before = '', after = ''] = text.split('\nFilters. ')
    expect(before).toContain('\n  -f, --follow\n')
    expect(before).toContain('\n  -o, --output FORMAT\n')
    expect(after).toContain('\n  --not\n')
    for (const name of filtersOfObserve) expect(after).toMatch(new RegExp(`^ {2}(-\\w, )?--${name} [A-Z]+$`, 'm'))
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
    expect(print('check', '--help')).not.toContain('--not')
  })

  it('names only flags that are understood', () => {
    for (const command of Object.keys(commands))
      for (const [, flag] of print(command, '--help').matchAll(/^ {2}(?:-\w, )?(--[\w.-]+) [A-Z]/gm))
        expect(complaint([command, flag!])).toContain('needs a value')
  })
})

it('--version is that of package.json', () => {
  const { version } = JSON.parse(fs.readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  expect(readVersion()).toBe(version)
  expect(readConfig(['--version'], {})).toEqual({ print: `netvitals ${version}\n` })
})
