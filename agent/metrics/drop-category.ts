export const dropCategories = [
  'netfilter',
  'no_socket',
  'socket_buffer',
  'connection_state',
  'checksum',
  'malformed',
  'routing',
  'neighbour',
  'queue',
  'ttl',
  'mtu',
  'memory',
  'device',
  'other',
  'normal',
] as const
export type DropCategory = (typeof dropCategories)[number]

/**
 * Where to look for the cause of a drop, by the kernel's name of its reason in lower case. `normal` is clean-up that
 * harms nobody; `other` is what the name does not tell, as for reasons yet unknown here.
 */
export function categoryOfDropReason(name: string): DropCategory {
  return listed.get(name) ?? families.find(([pattern]) => pattern.test(name))?.[1] ?? 'other'
}

/** Kernels bring new names every few months; most join a family. */
const families: readonly (readonly [name: RegExp, category: DropCategory])[] = [
  [/_csum$/, 'checksum'],
  [/^neigh_/, 'neighbour'],
  [/^(qdisc|fq|cake|dualpi2)_/, 'queue'],
  // Whoever filters with BPF or tc means the same as with netfilter rules.
  [/^(netfilter|tc|bpf)_/, 'netfilter'],
  [/^tcp_/, 'connection_state'],
  [/^can(fd|xl)?_/, 'malformed'],
]

const lists: { readonly [C in DropCategory]?: readonly string[] } = {
  // socket_filter is also what programs of a cgroup refuse.
  netfilter: ['xdp', 'socket_filter', 'security_hook', 'xfrm_policy', 'ovs_drop_explicit', 'ovs_drop_explicit_with_error'],
  no_socket: ['no_socket', 'ip_noproto'],
  socket_buffer: [
    'socket_rcvbuff',
    'socket_backlog',
    'packet_sock_error',
    'tcp_listen_overflow',
    'tcp_zerowindow',
    'tcp_ofo_queue_prune',
    'tcp_ofo_drop',
  ],
  connection_state: ['ovs_drop_conntrack'],
  malformed: [
    'pkt_too_small',
    'hdr_trunc',
    'dev_hdr',
    'invalid_proto',
    'mac_invalid_source',
    'ip_tunnel_ecn',
    'ipv6_bad_exthdr',
    'ipv6_too_many_exthdrs',
    'ipv6_ndisc_frag',
    'ipv6_ndisc_hop_limit',
    'ipv6_ndisc_bad_code',
    'ipv6_ndisc_bad_options',
    'vxlan_invalid_hdr',
    'skb_bad_gso',
    'ovs_drop_frag_invalid_proto',
  ],
  routing: [
    'ip_rpfilter',
    'ip_innoroutes',
    'ip_outnoroutes',
    'ip_inaddrerrors',
    'ip_local_source',
    'ip_invalid_source',
    'ip_invalid_dest',
    'ip_localnet',
  ],
  queue: ['cpu_backlog', 'full_ring', 'macvlan_broadcast_backlog', 'ipvlan_multicast_backlog', 'ovs_drop_meter'],
  // Bad headers have this name too, but those that get as far as the IP layer are rare.
  ttl: ['ip_inhdr', 'tcp_minttl', 'ovs_drop_ip_ttl'],
  mtu: ['pkt_too_big', 'frag_reasm_timeout', 'frag_too_far', 'ovs_drop_frag_l2_too_long'],
  memory: ['nomem', 'proto_mem', 'pfmemalloc', 'skb_ucopy_fault'],
  device: [
    'dev_ready',
    'no_tx_target',
    'local_mac',
    'bridge_ingress_stp_state',
    'recursion_limit',
    'skb_gso_seg',
    'tap_filter',
    'tap_txfilter',
    'tunnel_txinfo',
    'vxlan_vni_not_found',
    'vxlan_entry_exists',
    'ovs_drop_recursion_limit',
    'ovs_drop_deferred_limit',
  ],
  other: ['not_specified', 'psp_input', 'psp_output', 'ovs_drop_last_action', 'ovs_drop_action_error'],
  normal: [
    'not_dropped_yet',
    'consumed',
    // What a socket still held when it was closed.
    'queue_purge',
    'socket_close',
    'unix_disconnect',
    'unix_skip_oob',
    // What came twice: keep-alives, probes, retransmissions that crossed their acknowledgement.
    'tcp_old_data',
    'tcp_old_sequence',
    'tcp_old_ack',
    'tcp_ofomerge',
    'dup_frag',
    // What was for others, or for nobody.
    'otherhost',
    'unicast_in_l2_multicast',
    'mac_ieee_mac_control',
    'arp_pvlan_disable',
    'unhandled_proto',
    'ipv6disabled',
    'ipv6_ndisc_ns_otherhost',
  ],
}

const listed: ReadonlyMap<string, DropCategory> = new Map(
  dropCategories.flatMap((category) => (lists[category] ?? []).map((name) => [name, category] as const)),
)
