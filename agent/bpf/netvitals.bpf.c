// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the kernel tells only in passing, counted where it happens. One object for every kernel from 5.10 on: the
// structures below hold only the fields used, and libbpf moves each access to where the running kernel has the field
// (CO-RE). agent/host/tracer.ts loads it, agent/bpf/Makefile builds it.
//
// A counting map bears its metric's name without the prefix. The first 8 bytes of every key are the subject.
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
	__u64 net_cookie;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct in6_addr {
	__u8 bytes[16]; // not the kernel's member: only the whole is read
};
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct socket;
struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	int sk_err;
	struct socket *sk_socket;
};
struct inet_sock {
	__be16 inet_sport;
};
struct inet_connection_sock {
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
};
struct tcp_sock {
	__u32 srtt_us;
	__u32 segs_out;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 write_seq;
	__u32 total_retrans;
};
// What TCP notes in skb->cb.
struct tcp_skb_cb {
	__u32 seq;
	__u32 end_seq;
	__u16 tcp_gso_segs;
	__u8 tcp_flags; // the low byte, where the field is of two
};
struct net_device {
	int ifindex;
	possible_net_t nd_net;
};
struct dst_ops {
	unsigned short family;
};
struct dst_entry {
	struct net_device *dev;
	struct dst_ops *ops;
};
struct rtable {
	unsigned int rt_flags;
};
struct rt6_info {
	__u32 rt6i_flags;
};
struct skb_shared_info {
	unsigned short gso_segs;
};
struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
	unsigned int len;
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
	unsigned int end;
	unsigned char *head;
	unsigned char *data;
	char cb[48];
};
struct pid_namespace;
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};
struct nsproxy {
	struct net *net_ns;
};
struct task_struct {
	int pid;
	int tgid;
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
};
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
// Numbers differ from kernel to kernel; an enum declared as an int would not be found at all.
enum skb_drop_reason {
	SKB_DROP_REASON_CPU_BACKLOG,
	SKB_DROP_REASON_XDP,
	SKB_DROP_REASON_NOT_SPECIFIED,
};
enum sock_flags {
	SOCK_DONE,
};
// A tracepoint's argument that came later than it, in 6.11. Others (reason of kfree_skb, 5.17; reason of tcp_send_reset,
// 6.10; err of tcp_retransmit_skb, 6.17) are for agent/host/tracer.ts to look for: of a structure that vmlinux does not
// have libbpf asks every module, which needs CAP_SYS_ADMIN.
struct trace_event_raw_kfree_skb {
	void *rx_sk;
};
#pragma clang attribute pop

// From the kernel's headers; macros are not in BTF.
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define RTCF_LOCAL 0x80000000u
#define RTF_LOCAL 0x80000000u
#define RTF_ANYCAST 0x00100000u
#define SKB_DST_NOREF 1ul
// proc_fs.h: every namespace's inode is at or above PROC_*_INIT_INO.
#define NAMESPACE_INODE_MIN 0xefffff00u

#define IPPROTO_TCP 6
#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define TCP_CA_RECOVERY 3
#define TCP_CA_LOSS 4
#define ICSK_TIME_LOSS_PROBE 5
#define EBUSY 16
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EINVAL 22
#define EPIPE 32
#define ENONET 64
#define ENOPROTOOPT 92
#define ENETUNREACH 101
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define ECONNREFUSED 111
#define EHOSTDOWN 112
#define EHOSTUNREACH 113
// include/net/tcp_states.h; part of the ABI since sockets are listed.
enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

// A header's byte of flags.
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_ACK 0x10

// The same order as tracedProtocols and tracedDirections in agent/host/tracer.ts, retransmitKinds and connectOutcomes in
// agent/metrics/labels.ts.
enum protocol { PROTOCOL_OTHER, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP };
enum direction { DIRECTION_IN, DIRECTION_OUT, DIRECTION_FORWARD };
enum retransmit { RETRANSMIT_FAST, RETRANSMIT_TIMEOUT, RETRANSMIT_PROBE, RETRANSMIT_SYN, RETRANSMIT_SYNACK };
enum outcome {
	OUTCOME_CONNECTED,
	OUTCOME_REFUSED,
	OUTCOME_TIMED_OUT,
	OUTCOME_UNREACHABLE,
	OUTCOME_RESET,
	OUTCOME_NO_PORT,
	OUTCOME_ABANDONED,
	OUTCOME_OTHER,
	OUTCOMES,
};
// One slot a map that may be full, in the order of `lostSlots` in agent/host/tracer.ts.
enum lost_slot {
	LOST_DROPPED_PACKETS,
	LOST_SENT_RESETS,
	LOST_RECEIVED_RESETS,
	LOST_RETRANSMITTED_SEGMENTS,
	LOST_RETRANSMIT_FAILURES,
	LOST_CONNECTS,
	LOST_CONNECT_DURATION,
	LOST_RTT,
	LOST_FRAGMENTATION_NEEDED,
	LOST_EDGE_CONNECTS,
	LOST_EDGE_DROPPED_PACKETS,
	LOST_CONNECT_STARTS,
	LOST_LIVE_CONNECTIONS,
	LOST_SLOTS,
};

// A namespace: its inode, and the low half of its cookie because inodes are reused at once. 0, 0: could not be told.
struct netns {
	__u32 inode;
	__u32 cookie;
};

// Written once, before the programs are loaded; what it rules out the verifier takes out of them.
struct settings {
	struct netns host; // 0: no drop is looked up in address_owners
	__u32 tells_errors; // tcp_retransmit_skb has the argument err
	__u32 shows_events;
	__u32 counts_edges;
};
const volatile struct settings settings SEC(".rodata.settings") = {};

#define COUNTING_MAP(NAME, KEY, VALUE)                                                                                 \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_HASH);                                                                \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                  \
		__uint(max_entries, 8192);                                                                             \
		__type(key, struct KEY);                                                                               \
		__type(value, struct VALUE);                                                                           \
	} NAME SEC(".maps")

// Updates that a full map refused.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&lost, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

// The value of this CPU for the key, made at its first use; null when the map is full.
static __always_inline void *counter(void *map, const void *key, const void *zero)
{
	void *value = bpf_map_lookup_elem(map, key);

	if (value)
		return value;
	bpf_map_update_elem(map, key, zero, BPF_NOEXIST); // fails too when another CPU was first: so look again
	return bpf_map_lookup_elem(map, key);
}

// Atomic although each CPU has its own: before 6.2 an interrupt may run this program within itself.
#define ADD(COUNTER, AMOUNT) __sync_fetch_and_add(&(COUNTER), (AMOUNT))

// A namespace alone, or one and a small number: what most maps count by.
struct labelled_key {
	struct netns netns;
	__u32 label;
};
struct count_value {
	__u64 count;
};

static __always_inline void count(void *map, enum lost_slot slot, const void *key, __u64 amount)
{
	struct count_value zero = {}, *value = counter(map, key, &zero);

	if (value)
		ADD(value->count, amount);
	else
		count_lost(slot);
}

// skb->dev shares its place with other things while the packet waits in a queue. What is no namespace's inode was no
// device. Addresses that are not mapped read as 0.
static __always_inline struct netns netns_of(struct net *net)
{
	struct netns netns = {};
	__u32 inode = net->ns.inum;

	if (inode < NAMESPACE_INODE_MIN)
		return netns;
	netns.inode = inode;
	if (bpf_core_field_exists(net->net_cookie))
		netns.cookie = (__u32)net->net_cookie;
	return netns;
}

// To the verifier an address that came through an integer is a number: it has to be read by helper.
static __always_inline struct netns netns_of_route(struct dst_entry *dst)
{
	struct netns netns = {};
	struct net *net = BPF_CORE_READ(dst, dev, nd_net.net);
	__u32 inode = BPF_CORE_READ(net, ns.inum);

	if (inode < NAMESPACE_INODE_MIN)
		return netns;
	netns.inode = inode;
	if (bpf_core_field_exists(net->net_cookie))
		netns.cookie = (__u32)BPF_CORE_READ(net, net_cookie);
	return netns;
}

static __always_inline struct netns netns_of_socket(const struct sock *sk)
{
	return netns_of(sk->__sk_common.skc_net.net);
}

static __always_inline struct dst_entry *route_of(const struct sk_buff *skb)
{
	return (struct dst_entry *)(skb->_skb_refdst & ~SKB_DST_NOREF);
}

// Single events, as many of each type as user space has granted.
enum event_type { EVENT_DROP, EVENT_RESET_SENT, EVENT_RESET_RECEIVED, EVENT_RETRANSMIT, EVENT_CONNECT, EVENT_TYPES };

struct event {
	__u64 nanoseconds; // CLOCK_MONOTONIC
	__u64 location; // of a drop: what freed the packet
	struct netns netns;
	__u32 reason; // of a drop or a sent reset; of a retransmission its kind, of a connect its outcome
	__u32 bytes;
	__u32 packets;
	__be16 source_port;
	__be16 destination_port;
	__u8 type;
	__u8 family; // 4, 6; 0: neither
	__u8 protocol;
	__u8 direction;
	__u8 state; // of the socket; 0: there is none
	__u8 flags; // of a dropped TCP segment
	__u16 zero;
	__u8 source[16];
	__u8 destination[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events SEC(".maps");

// How many more may be shown; user space grants them anew all the time.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVENT_TYPES);
	__type(key, __u32);
	__type(value, __s64);
} events_granted SEC(".maps");

// Those that are not in the ring, in the unit of the type's metric.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_TYPES);
	__type(key, __u32);
	__type(value, __u64);
} events_not_shown SEC(".maps");

// Null: it is counted as not shown. Several CPUs may take the last one at once: a few more are shown, and none is lost.
static __always_inline struct event *begin_event(enum event_type type, __u64 amount)
{
	__u32 slot = type;
	__s64 *granted;
	__u64 *not_shown;
	struct event *event = 0;

	if (!settings.shows_events)
		return 0;
	granted = bpf_map_lookup_elem(&events_granted, &slot);
	if (granted && *granted > 0) {
		__sync_fetch_and_add(granted, -1);
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	}
	if (!event) {
		not_shown = bpf_map_lookup_elem(&events_not_shown, &slot);
		if (not_shown)
			ADD(*not_shown, amount);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->nanoseconds = bpf_ktime_get_ns();
	event->type = type;
	event->packets = amount;
	return event;
}

// Nobody is woken: user space looks for itself.
static __always_inline void end_event(struct event *event)
{
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

struct drop_key {
	struct netns netns;
	__u32 reason;
	__u8 protocol;
	__u8 direction;
	__u16 zero;
};
struct drop_value {
	__u64 packets;
	__u64 bytes;
};
COUNTING_MAP(dropped_packets_total, drop_key, drop_value);

// IPv4 as ::ffff:a.b.c.d.
struct address {
	__u32 words[4];
};

// Addresses of this machine that are not the host's own, and whose they are. User space fills it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct address);
	__type(value, struct netns);
} address_owners SEC(".maps");

// The namespace the packet died in. The receiving socket knows it best, then the device, then the socket the packet
// bears: one that crosses a veth pair keeps its sender's until the IP layer of the receiving namespace takes it off.
static __always_inline struct netns netns_of_packet(const struct sk_buff *skb, const struct sock *sk, const struct sock *receiver)
{
	struct netns netns = {};
	struct net_device *dev = skb->dev;
	struct dst_entry *dst;

	if (receiver)
		return netns_of_socket(receiver);
	if (dev)
		netns = netns_of(dev->nd_net.net);
	if (!netns.inode && sk)
		netns = netns_of_socket(sk);
	if (netns.inode)
		return netns;
	dst = route_of(skb);
	return dst ? netns_of_route(dst) : netns;
}

static __always_inline enum protocol protocol_class(__u8 protocol)
{
	switch (protocol) {
	case 6:
		return PROTOCOL_TCP;
	case 17:
		return PROTOCOL_UDP;
	case 1:
	case 58:
		return PROTOCOL_ICMP;
	default:
		return PROTOCOL_OTHER;
	}
}

#define IPV4_FRAGMENT_OFFSET 0x1fff

struct ipv4_header {
	__u8 version_and_words;
	__u8 unused[5];
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};
struct ipv6_header {
	__u8 unused[6];
	__u8 next_header;
	__u8 hop_limit;
	struct address source;
	struct address destination;
};
// As UDP begins too, but for the flags.
struct tcp_header {
	__be16 source_port;
	__be16 destination_port;
	__u8 unused[9];
	__u8 flags;
};
// What is told of a packet. A later fragment has no ports, nor has what is behind an extension header of IPv6, which is `other`.
struct headers {
	struct address source; // all 0 of neither family
	struct address destination;
	__be16 source_port; // 0: none
	__be16 destination_port;
	__u8 family; // 4, 6; 0: neither
	__u8 protocol;
	__u8 flags; // of a TCP segment
};

static __always_inline void read_headers(struct headers *headers, const struct sk_buff *skb, const unsigned char *header)
{
	struct tcp_header transport = {};
	__u32 length = sizeof(struct ipv6_header);
	int is_later_fragment = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct ipv4_header ip = {};

		bpf_probe_read_kernel(&ip, sizeof(ip), header);
		headers->family = 4;
		headers->protocol = protocol_class(ip.protocol);
		headers->source.words[2] = headers->destination.words[2] = bpf_htonl(0xffff);
		headers->source.words[3] = ip.source;
		headers->destination.words[3] = ip.destination;
		length = (ip.version_and_words & 0xf) * 4;
		is_later_fragment = ip.fragment & bpf_htons(IPV4_FRAGMENT_OFFSET);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6_header ip = {};

		bpf_probe_read_kernel(&ip, sizeof(ip), header);
		headers->family = 6;
		headers->protocol = protocol_class(ip.next_header);
		headers->source = ip.source;
		headers->destination = ip.destination;
	}
	if (is_later_fragment || (headers->protocol != PROTOCOL_TCP && headers->protocol != PROTOCOL_UDP))
		return;
	bpf_probe_read_kernel(&transport, sizeof(transport), header + length);
	headers->source_port = transport.source_port;
	headers->destination_port = transport.destination_port;
	if (headers->protocol == PROTOCOL_TCP)
		headers->flags = transport.flags;
}

enum route { ROUTE_NONE, ROUTE_LOCAL, ROUTE_ONWARD };

static __always_inline enum route route_class(const struct sk_buff *skb, const unsigned char *header)
{
	struct dst_entry *dst = route_of(skb);
	__u8 first = 0;

	if (!dst)
		return ROUTE_NONE;
	switch (BPF_CORE_READ(dst, ops, family)) {
	case AF_INET:
		return BPF_CORE_READ((struct rtable *)dst, rt_flags) & RTCF_LOCAL ? ROUTE_LOCAL : ROUTE_ONWARD;
	case AF_INET6:
		if (BPF_CORE_READ((struct rt6_info *)dst, rt6i_flags) & (RTF_LOCAL | RTF_ANYCAST))
			return ROUTE_LOCAL;
		bpf_probe_read_kernel(&first, 1, header + 24); // routes of multicast have no flag: the destination tells
		return first == 0xff ? ROUTE_LOCAL : ROUTE_ONWARD;
	default: // what a tunnel noted about the packet is kept in the same place
		return ROUTE_NONE;
	}
}

// The packet has left the device it came by, for another of the same namespace.
static __always_inline int changed_device(const struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;

	return dev && netns_of(dev->nd_net.net).inode && dev->ifindex != skb->skb_iif;
}

// skb_iif is the device a packet was received by, set at the entrance of the receive path: 0 means sent from here, but
// for the two places in front of that entrance. Without a route the packet is not routed yet, or is in a socket's queue,
// or is in the queue of the device it is to leave by.
static __always_inline enum direction direction_of(const struct sk_buff *skb, const struct sock *receiver, __u32 reason,
						   const unsigned char *header)
{
	if (receiver)
		return DIRECTION_IN;
	if (!skb->skb_iif) {
		if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_CPU_BACKLOG) &&
		    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_CPU_BACKLOG))
			return DIRECTION_IN;
		if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_DROP_REASON_XDP) &&
		    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_XDP))
			return DIRECTION_IN;
		return DIRECTION_OUT;
	}
	switch (route_class(skb, header)) {
	case ROUTE_LOCAL:
		return DIRECTION_IN;
	case ROUTE_ONWARD:
		return DIRECTION_FORWARD;
	default:
		return changed_device(skb) ? DIRECTION_FORWARD : DIRECTION_IN;
	}
}

// Messages between processes are in the same structure as packets and are freed by the same function.
static __always_inline int is_packet(const struct sk_buff *skb, const struct sock *sk)
{
	__u16 family;

	if (skb->protocol || !sk)
		return 1;
	family = sk->__sk_common.skc_family;
	return family != AF_UNIX && family != AF_NETLINK;
}

// A segment without payload is freed by the TCP socket that has taken note of it, the last one of each connection for one,
// as if it were dropped, but for no reason: a bare acknowledgement, and by what is left of a socket in TIME_WAIT, which has
// no protocol of its own, the other end's FIN too.
static __always_inline int is_taken_note_of(const struct sk_buff *skb, const struct sock *receiver, __u32 reason)
{
	const struct tcp_skb_cb *noted = (void *)skb->cb;
	__u32 fin = 0;

	if (reason != bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED))
		return 0;
	if (receiver->__sk_common.skc_state == TCP_TIME_WAIT)
		fin = BPF_CORE_READ(noted, tcp_flags) & TCP_FIN;
	else if (receiver->sk_protocol != IPPROTO_TCP)
		return 0;
	return BPF_CORE_READ(noted, seq) + fin == BPF_CORE_READ(noted, end_seq);
}

// A drop in the host's namespace is counted for whom the packet was from or to. With both ends on this machine: once the
// host has found its way (it is being forwarded) the receiver's, on the way in; before that the sender's, on the way out.
static __always_inline void attribute(struct drop_key *key, const struct headers *headers)
{
	struct netns *from, *to;

	if (!headers->family || key->netns.inode != settings.host.inode || key->netns.cookie != settings.host.cookie)
		return;
	from = bpf_map_lookup_elem(&address_owners, &headers->source);
	to = bpf_map_lookup_elem(&address_owners, &headers->destination);
	if (to && (!from || key->direction == DIRECTION_FORWARD)) {
		key->netns = *to;
		key->direction = DIRECTION_IN;
	} else if (from) {
		key->netns = *from;
		key->direction = DIRECTION_OUT;
	}
}

static __always_inline void put_headers(struct event *event, const struct headers *headers)
{
	event->family = headers->family;
	event->protocol = headers->protocol;
	event->flags = headers->flags;
	event->source_port = headers->source_port;
	event->destination_port = headers->destination_port;
	if (headers->family == 4) {
		__builtin_memcpy(event->source, &headers->source.words[3], 4);
		__builtin_memcpy(event->destination, &headers->destination.words[3], 4);
	} else {
		__builtin_memcpy(event->source, &headers->source, 16);
		__builtin_memcpy(event->destination, &headers->destination, 16);
	}
}

enum end { SENDER, RECEIVER };

// Requests have these in the same places. `ours` is which of the two ends the socket is.
static __always_inline void read_ends_of_socket(struct event *event, const struct sock_common *socket, __be16 port, enum end ours)
{
	__u8 *here = ours == SENDER ? event->source : event->destination;
	__u8 *there = ours == SENDER ? event->destination : event->source;
	const void *start = socket;

	event->protocol = PROTOCOL_TCP;
	event->state = socket->skc_state;
	if (ours == SENDER) {
		event->source_port = port;
		event->destination_port = socket->skc_dport;
	} else {
		event->source_port = socket->skc_dport;
		event->destination_port = port;
	}
	if (socket->skc_family == AF_INET) {
		event->family = 4;
		bpf_probe_read_kernel(here, 4, start + bpf_core_field_offset(struct sock_common, skc_rcv_saddr));
		bpf_probe_read_kernel(there, 4, start + bpf_core_field_offset(struct sock_common, skc_daddr));
	} else if (socket->skc_family == AF_INET6 && bpf_core_field_exists(socket->skc_v6_daddr)) {
		event->family = 6;
		bpf_probe_read_kernel(here, 16, start + bpf_core_field_offset(struct sock_common, skc_v6_rcv_saddr));
		bpf_probe_read_kernel(there, 16, start + bpf_core_field_offset(struct sock_common, skc_v6_daddr));
	}
}

// The socket's own, which in skc_num is given back when it closes.
static __always_inline __be16 port_of(const struct sock *sk)
{
	return BPF_CORE_READ((struct inet_sock *)sk, inet_sport);
}

// A reset answers a segment: it goes where that came from.
static __always_inline void turn_around(struct event *event)
{
	__be16 port = event->source_port;
	__u8 address[16];

	event->source_port = event->destination_port;
	event->destination_port = port;
	__builtin_memcpy(address, event->source, 16);
	__builtin_memcpy(event->source, event->destination, 16);
	__builtin_memcpy(event->destination, address, 16);
	event->flags = 0;
}

static __always_inline void count_edge_drop(const struct drop_key *drop, const struct headers *headers, __u64 packets);

SEC("tp_btf/kfree_skb")
int dropped_packets(__u64 *ctx)
{
	const struct sk_buff *skb = (void *)ctx[0];
	const struct sock *sk = skb->sk, *receiver = 0;
	const unsigned char *header = skb->data;
	struct drop_value zero = {}, *value;
	struct drop_key key = {};
	struct headers headers = {};
	struct event *event;
	__u16 segments = 0;
	__u64 bytes;

	if (!is_packet(skb, sk))
		return 0;
	if (skb->network_header) // else nobody has looked for it yet: data is all there is
		header = skb->head + skb->network_header;
	key.reason = (__u32)ctx[2];
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, rx_sk))
		receiver = (void *)ctx[3];
	if (receiver && is_taken_note_of(skb, receiver, key.reason))
		return 0;
	key.netns = netns_of_packet(skb, sk, receiver);
	read_headers(&headers, skb, header);
	key.protocol = headers.protocol;
	key.direction = direction_of(skb, receiver, key.reason, header);
	if (settings.host.inode)
		attribute(&key, &headers);
	BPF_CORE_READ_INTO(&segments, (struct skb_shared_info *)(skb->head + skb->end), gso_segs);
	if (!segments)
		segments = 1;
	// Whatever layer holds it, data is where that layer has read to: len + (data - header) is the same number.
	bytes = (__u64)skb->len + skb->data - header;
	value = counter(&dropped_packets_total, &key, &zero);
	if (value) {
		ADD(value->packets, segments);
		ADD(value->bytes, bytes);
	} else {
		count_lost(LOST_DROPPED_PACKETS);
	}
	if (settings.counts_edges)
		count_edge_drop(&key, &headers, segments);
	event = begin_event(EVENT_DROP, segments);
	if (!event)
		return 0;
	event->netns = key.netns;
	event->location = ctx[1];
	event->reason = key.reason;
	event->direction = key.direction;
	event->bytes = bytes;
	put_headers(event, &headers);
	end_event(event);
	return 0;
}

COUNTING_MAP(tcp_sent_resets_by_reason_total, labelled_key, count_value);

// Without a socket the segment that is answered tells the namespace; without a segment the socket does.
SEC("tp_btf/tcp_send_reset")
int sent_resets(__u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	const struct sk_buff *skb = (void *)ctx[1];
	struct labelled_key key = { .label = (__u32)ctx[2] };
	struct headers headers = {};
	struct event *event;

	if (sk)
		key.netns = netns_of_socket(sk);
	else if (skb)
		key.netns = netns_of_packet(skb, 0, 0);
	count(&tcp_sent_resets_by_reason_total, LOST_SENT_RESETS, &key, 1);
	event = begin_event(EVENT_RESET_SENT, 1);
	if (!event)
		return 0;
	event->netns = key.netns;
	event->reason = key.label;
	if (sk)
		event->state = sk->__sk_common.skc_state;
	if (skb) {
		read_headers(&headers, skb, skb->head + skb->network_header);
		put_headers(event, &headers);
		turn_around(event);
	} else if (sk) {
		read_ends_of_socket(event, &sk->__sk_common, port_of(sk), SENDER);
	}
	end_event(event);
	return 0;
}

COUNTING_MAP(tcp_received_resets_total, labelled_key, count_value);

SEC("tp_btf/tcp_receive_reset")
int received_resets(__u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	struct labelled_key key = { .netns = netns_of_socket(sk), .label = sk->__sk_common.skc_state };

	struct event *event;

	count(&tcp_received_resets_total, LOST_RECEIVED_RESETS, &key, 1);
	event = begin_event(EVENT_RESET_RECEIVED, 1);
	if (!event)
		return 0;
	event->netns = key.netns;
	read_ends_of_socket(event, &sk->__sk_common, port_of(sk), RECEIVER);
	end_event(event);
	return 0;
}

COUNTING_MAP(tcp_retransmitted_segments_by_kind_total, labelled_key, count_value);
COUNTING_MAP(tcp_retransmit_failures_total, netns, count_value);

// icsk_pending still is the timer that runs: a probe is sent before it is set anew.
static __always_inline enum retransmit retransmit_kind(const struct sock *sk)
{
	struct inet_connection_sock *connection = (void *)sk;
	__u8 recovery;

	switch (sk->__sk_common.skc_state) {
	case TCP_SYN_SENT:
		return RETRANSMIT_SYN;
	case TCP_SYN_RECV: // both ends have called
		return RETRANSMIT_SYNACK;
	}
	recovery = BPF_CORE_READ_BITFIELD_PROBED(connection, icsk_ca_state);
	if (recovery == TCP_CA_LOSS)
		return RETRANSMIT_TIMEOUT;
	if (recovery < TCP_CA_RECOVERY && BPF_CORE_READ(connection, icsk_pending) == ICSK_TIME_LOSS_PROBE)
		return RETRANSMIT_PROBE;
	return RETRANSMIT_FAST;
}

// With one of these __tcp_retransmit_skb returns before the segment counts as retransmitted; any other error is of the
// layers below, to which it had been handed.
static __always_inline int is_not_sent(int err)
{
	return err == -EBUSY || err == -EAGAIN || err == -ENOMEM || err == -EINVAL || err == -EHOSTUNREACH;
}

static __always_inline void show_retransmit(const struct labelled_key *key, const struct sock_common *socket, __be16 port,
					    __u64 segments)
{
	struct event *event = begin_event(EVENT_RETRANSMIT, segments);

	if (!event)
		return;
	event->netns = key->netns;
	event->reason = key->label;
	read_ends_of_socket(event, socket, port, SENDER);
	end_event(event);
}

SEC("tp_btf/tcp_retransmit_skb")
int retransmitted_segments(__u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	const struct sk_buff *skb = (void *)ctx[1];
	const struct tcp_skb_cb *noted = (void *)skb + bpf_core_field_offset(struct sk_buff, cb);
	struct labelled_key key = { .netns = netns_of_socket(sk) };
	__u16 segments;

	if (settings.tells_errors && is_not_sent((int)ctx[2])) {
		count(&tcp_retransmit_failures_total, LOST_RETRANSMIT_FAILURES, &key.netns, 1);
		return 0;
	}
	key.label = retransmit_kind(sk);
	segments = BPF_CORE_READ(noted, tcp_gso_segs);
	count(&tcp_retransmitted_segments_by_kind_total, LOST_RETRANSMITTED_SEGMENTS, &key, segments);
	show_retransmit(&key, &sk->__sk_common, port_of(sk), segments);
	return 0;
}

SEC("tp_btf/tcp_retransmit_synack")
int retransmitted_synacks(__u64 *ctx)
{
	const struct sock *listener = (void *)ctx[0];
	const struct sock_common *request = (void *)ctx[1];
	struct labelled_key key = { .netns = netns_of_socket(listener), .label = RETRANSMIT_SYNACK };

	count(&tcp_retransmitted_segments_by_kind_total, LOST_RETRANSMITTED_SEGMENTS, &key, 1);
	show_retransmit(&key, request, bpf_htons(request->skc_num), 1);
	return 0;
}

#define DURATION_BOUNDS 10
struct duration_value {
	__u64 counts[DURATION_BOUNDS + 1]; // up to 2^6, 2^8 … 2^24 microseconds; above
	__u64 microseconds;
};
struct rtt_value {
	__u64 microseconds;
	__u64 connections;
};
COUNTING_MAP(tcp_connects_total, labelled_key, count_value);
COUNTING_MAP(tcp_connect_duration_seconds, netns, duration_value);
COUNTING_MAP(tcp_rtt_seconds, netns, rtt_value);

// When the connects under way were begun, by socket. All of its memory is taken at once: nothing is allocated per connect.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} connect_starts SEC(".maps");

// Each bound is inclusive: up to 64 microseconds is 0, and each factor of 4 is one more.
static __always_inline __u32 duration_bucket(__u64 microseconds)
{
	__u64 rest = microseconds ? (microseconds - 1) >> 6 : 0;
	__u32 bucket = 1;

	if (!rest)
		return 0;
	if (rest >> 2 * (DURATION_BOUNDS - 1))
		return DURATION_BOUNDS;
#define HALVE(BITS)                                                                                                    \
	if (rest >> (BITS)) {                                                                                          \
		rest >>= (BITS);                                                                                       \
		bucket += (BITS) / 2;                                                                                  \
	}
	HALVE(16)
	HALVE(8)
	HALVE(4)
	HALVE(2)
	return bucket;
}

static __always_inline void count_duration(struct netns netns, __u64 microseconds)
{
	struct duration_value zero = {}, *value = counter(&tcp_connect_duration_seconds, &netns, &zero);
	__u32 bucket = duration_bucket(microseconds);

	if (!value) {
		count_lost(LOST_CONNECT_DURATION);
		return;
	}
	if (bucket <= DURATION_BOUNDS)
		ADD(value->counts[bucket], 1);
	ADD(value->microseconds, microseconds);
}

// A socket that never sent anything, and no error: connect() found no local port, or the one it was bound to in use
// towards that peer.
static __always_inline enum outcome outcome_of_failure(const struct sock *sk)
{
	switch (sk->sk_err) {
	case 0:
		return BPF_CORE_READ((struct tcp_sock *)sk, segs_out) ? OUTCOME_ABANDONED : OUTCOME_NO_PORT;
	case ECONNREFUSED:
		return OUTCOME_REFUSED;
	case ETIMEDOUT:
		return OUTCOME_TIMED_OUT;
	case ECONNRESET:
		return OUTCOME_RESET;
	case EACCES: // what ICMPv6 says for prohibited
	case ENONET:
	case ENOPROTOOPT:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
		return OUTCOME_UNREACHABLE;
	default:
		return OUTCOME_OTHER;
	}
}

static __always_inline void show_failure(const struct sock *sk, const struct labelled_key *key)
{
	struct event *event = begin_event(EVENT_CONNECT, 1);

	if (!event)
		return;
	event->netns = key->netns;
	event->reason = key->label;
	read_ends_of_socket(event, &sk->__sk_common, port_of(sk), SENDER);
	end_event(event);
}

// Edges: what TCP connections between two workloads carried, counted when it is certain; of those that live user space
// asks the kernel and adds. Both have to call a connection the same: how is settled at its birth.

// Addresses are 16 bytes (IPv4 as ::ffff:a.b.c.d), ports in network order.
struct connection {
	struct netns netns;
	struct address local;
	struct address remote;
	__be16 local_port;
	__be16 remote_port;
};
// The same order as tracedRoles and tracedPeers in agent/host/traced-maps.ts.
enum role { ROLE_UNKNOWN, ROLE_CLIENT, ROLE_SERVER };
// How the other end is told apart: not at all; by its address; or the connection by itself, because its peer is elsewhere
// than it believes, or because its beginning was not seen.
enum peer { PEER_EXTERNAL, PEER_KNOWN, PEER_SINGLE };

struct live_connection {
	__u64 socket;
	__u32 role;
	__u32 peer;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct connection);
	__type(value, struct live_connection);
} live_connections SEC(".maps");

// Networks whose addresses are told apart, beside private ones. User space fills it.
struct network {
	__u32 prefix_bits;
	struct address address;
};
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct network);
	__type(value, __u32);
} known_networks SEC(".maps");

// Addresses behind which the peer is another's, such as those of Services. User space fills it.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, __u32);
} translated_addresses SEC(".maps");

// Of the connection only what `peer` tells apart; the rest is 0.
struct edge_key {
	struct connection connection;
	__u32 role;
};
struct edge_value {
	__u64 connects[OUTCOMES];
	__u64 closed;
	__u64 resets;
	__u64 sent_bytes;
	__u64 received_bytes;
	__u64 retransmitted_segments;
	__u64 rtt_microseconds;
	__u64 rtt_connections;
};
COUNTING_MAP(edge_connects_total, edge_key, edge_value);

static __always_inline int is_ipv4(const struct address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == bpf_htonl(0xffff);
}

static __always_inline int is_loopback(const struct address *address)
{
	if (is_ipv4(address))
		return bpf_ntohl(address->words[3]) >> 24 == 127;
	return !address->words[0] && !address->words[1] && !address->words[2] && address->words[3] == bpf_htonl(1);
}

// 10/8, 172.16/12, 192.168/16, 100.64/10, 169.254/16; fc00::/7, fe80::/10.
static __always_inline int is_private(const struct address *address)
{
	__u32 first = bpf_ntohl(address->words[is_ipv4(address) ? 3 : 0]);

	if (!is_ipv4(address))
		return first >> 25 == 0x7e || first >> 22 == 0x3fa;
	return first >> 24 == 10 || first >> 20 == 0xac1 || first >> 16 == 0xc0a8 || first >> 22 == 0x191 || first >> 16 == 0xa9fe;
}

static __always_inline int is_known(const struct address *address)
{
	struct network network = { .prefix_bits = 128, .address = *address };

	return is_private(address) || bpf_map_lookup_elem(&known_networks, &network);
}

static __always_inline enum peer peer_class(const struct address *remote)
{
	if (bpf_map_lookup_elem(&translated_addresses, remote))
		return PEER_SINGLE;
	return is_known(remote) ? PEER_KNOWN : PEER_EXTERNAL;
}

// False: it never leaves the namespace, or is of neither family.
static __always_inline int read_connection(const struct sock *sk, struct connection *connection)
{
	const struct sock_common *socket = &sk->__sk_common;

	connection->netns = netns_of_socket(sk);
	connection->local_port = port_of(sk);
	connection->remote_port = socket->skc_dport;
	if (socket->skc_family == AF_INET) {
		connection->local.words[2] = connection->remote.words[2] = bpf_htonl(0xffff);
		connection->local.words[3] = socket->skc_rcv_saddr;
		connection->remote.words[3] = socket->skc_daddr;
	} else if (socket->skc_family == AF_INET6 && bpf_core_field_exists(socket->skc_v6_daddr)) {
		BPF_CORE_READ_INTO(&connection->local, socket, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&connection->remote, socket, skc_v6_daddr);
	} else {
		return 0;
	}
	return !is_loopback(&connection->remote);
}

// This CPU's value of what the connection is counted as; null when the map is full.
static __always_inline struct edge_value *edge_counter(const struct connection *connection, const struct live_connection *live)
{
	struct edge_value zero = {}, *value;
	struct edge_key key = { .role = live->role };

	if (live->peer == PEER_SINGLE) {
		key.connection = *connection;
	} else {
		key.connection.netns = connection->netns;
		if (live->peer == PEER_KNOWN)
			key.connection.remote = connection->remote;
	}
	value = counter(&edge_connects_total, &key, &zero);
	if (!value)
		count_lost(LOST_EDGE_CONNECTS);
	return value;
}

static __noinline int begin_edge(const struct sock *sk, enum role role)
{
	struct live_connection live = { .socket = (__u64)sk, .role = role };
	struct connection connection = {};
	struct edge_value *value;

	if (!read_connection(sk, &connection))
		return 0;
	live.peer = peer_class(&connection.remote);
	if (bpf_map_update_elem(&live_connections, &connection, &live, BPF_ANY))
		count_lost(LOST_LIVE_CONNECTIONS);
	value = edge_counter(&connection, &live);
	if (value)
		ADD(value->connects[OUTCOME_CONNECTED], 1);
	return 0;
}

static __noinline int fail_edge(const struct sock *sk, __u32 outcome)
{
	struct live_connection live = { .role = ROLE_CLIENT };
	struct connection connection = {};
	struct edge_value *value;

	if (!read_connection(sk, &connection))
		return 0;
	live.peer = peer_class(&connection.remote);
	value = edge_counter(&connection, &live);
	if (!value || outcome >= OUTCOMES)
		return 0;
	ADD(value->connects[outcome], 1);
	ADD(value->retransmitted_segments, BPF_CORE_READ((struct tcp_sock *)sk, total_retrans));
	return 0;
}

// The peer's FIN has come.
static __always_inline int is_done(const struct sock *sk)
{
	return sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
}

// A FIN is the last in the queue.
static __always_inline int has_sent_fin(const struct tcp_sock *tcp, int state)
{
	if (state == TCP_FIN_WAIT2)
		return 1;
	if (state != TCP_FIN_WAIT1 && state != TCP_CLOSING && state != TCP_LAST_ACK)
		return 0;
	return BPF_CORE_READ(tcp, snd_nxt) == BPF_CORE_READ(tcp, write_seq);
}

// Each byte of payload once: acknowledged, or under way. TCP counts a SYN that it began with and a FIN as bytes.
static __always_inline __u64 sent_bytes(const struct tcp_sock *tcp, int state, __u32 role)
{
	__u64 bytes = BPF_CORE_READ(tcp, bytes_acked) + (__u32)(BPF_CORE_READ(tcp, snd_nxt) - BPF_CORE_READ(tcp, snd_una));

	return bytes - (role == ROLE_CLIENT) - has_sent_fin(tcp, state);
}

// A reset that came has left an error. One of this side's is sent after the change of state: it ends a connection that
// has not come to its end in order, which is in LAST_ACK, CLOSING, or FIN_WAIT2 when the FIN comes or nobody has the socket.
static __always_inline int is_reset(const struct sock *sk, int state)
{
	switch (sk->sk_err) {
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
		return 1;
	case ETIMEDOUT:
		return 0;
	}
	if (state == TCP_FIN_WAIT2)
		return sk->sk_socket && !is_done(sk);
	return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT1;
}

// The kernel has taken the socket off its tables by now: who lists the sockets after having read the map finds none of
// them in both.
static __noinline int end_edge(const struct sock *sk, int state)
{
	const struct tcp_sock *tcp = (void *)sk;
	struct live_connection live = { .role = ROLE_UNKNOWN, .peer = PEER_SINGLE }, *found;
	struct connection connection = {};
	struct edge_value *value;
	__u32 rtt;

	if (!read_connection(sk, &connection))
		return 0;
	found = bpf_map_lookup_elem(&live_connections, &connection);
	if (found && found->socket == (__u64)sk) {
		live = *found;
		bpf_map_delete_elem(&live_connections, &connection);
	}
	value = edge_counter(&connection, &live);
	if (!value)
		return 0;
	ADD(value->closed, 1);
	if (is_reset(sk, state))
		ADD(value->resets, 1);
	ADD(value->sent_bytes, sent_bytes(tcp, state, live.role));
	ADD(value->received_bytes, BPF_CORE_READ(tcp, bytes_received) - is_done(sk));
	ADD(value->retransmitted_segments, BPF_CORE_READ(tcp, total_retrans));
	rtt = BPF_CORE_READ(tcp, srtt_us) >> 3;
	if (rtt) {
		ADD(value->rtt_microseconds, rtt);
		ADD(value->rtt_connections, 1);
	}
	return 0;
}

// Dropped packets by their two ends: the namespace they are counted for, which is one of them, and an address that is told
// apart. Whether the namespace has the other address is for user space to see: a router's has not. ICMP is what stacks say
// to each other, such as who their neighbours are.
struct edge_drop_key {
	struct netns netns;
	__u32 reason;
	__u32 role; // the namespace's
	struct address local;
	struct address remote;
};
COUNTING_MAP(edge_dropped_packets_total, edge_drop_key, count_value);

// Where the range begins that Linux takes the ports of clients from (net.ipv4.ip_local_port_range).
#define CLIENT_PORT_MIN 32768

// By what the packet says: a server answers from a port that is smaller than the client's and is none of a client. What has
// no ports, or two that tell nothing, is the client's.
static __always_inline int is_from_client(const struct headers *headers)
{
	__u16 from = bpf_ntohs(headers->source_port);

	if (headers->flags & TCP_SYN)
		return !(headers->flags & TCP_ACK);
	return from >= bpf_ntohs(headers->destination_port) || from >= CLIENT_PORT_MIN;
}

static __always_inline void count_edge_drop(const struct drop_key *drop, const struct headers *headers, __u64 packets)
{
	int is_sender = drop->direction == DIRECTION_OUT;
	struct edge_drop_key key = { .netns = drop->netns, .reason = drop->reason };
	struct live_connection *live = 0;

	if (!headers->family || headers->protocol == PROTOCOL_ICMP)
		return;
	if (!drop->netns.inode || drop->direction == DIRECTION_FORWARD)
		return;
	key.local = is_sender ? headers->source : headers->destination;
	key.remote = is_sender ? headers->destination : headers->source;
	if (is_loopback(&key.remote) || (!is_known(&key.remote) && !bpf_map_lookup_elem(&translated_addresses, &key.remote)))
		return;
	if (headers->protocol == PROTOCOL_TCP && !(headers->flags & TCP_SYN)) {
		struct connection connection = {
			.netns = key.netns,
			.local = key.local,
			.remote = key.remote,
			.local_port = is_sender ? headers->source_port : headers->destination_port,
			.remote_port = is_sender ? headers->destination_port : headers->source_port,
		};

		live = bpf_map_lookup_elem(&live_connections, &connection);
	}
	if (live)
		key.role = live->role;
	else
		key.role = is_sender == is_from_client(headers) ? ROLE_CLIENT : ROLE_SERVER;
	count(&edge_dropped_packets_total, LOST_EDGE_DROPPED_PACKETS, &key, packets);
}

static __always_inline void end_connect(const struct sock *sk, __u64 id, int to, const __u64 *started)
{
	struct labelled_key key = { .netns = netns_of_socket(sk) };

	if (to != TCP_ESTABLISHED)
		key.label = outcome_of_failure(sk);
	else if (started)
		count_duration(key.netns, (bpf_ktime_get_ns() - *started) / 1000);
	if (started)
		bpf_map_delete_elem(&connect_starts, &id);
	count(&tcp_connects_total, LOST_CONNECTS, &key, 1);
	if (to != TCP_ESTABLISHED)
		show_failure(sk, &key);
	if (!settings.counts_edges)
		return;
	if (to == TCP_ESTABLISHED)
		begin_edge(sk, ROLE_CLIENT);
	else
		fail_edge(sk, key.label);
}

static __always_inline void count_rtt(const struct sock *sk)
{
	struct netns netns = netns_of_socket(sk);
	struct rtt_value zero = {}, *value;
	__u32 rtt = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3;

	if (!rtt) // never measured
		return;
	value = counter(&tcp_rtt_seconds, &netns, &zero);
	if (!value) {
		count_lost(LOST_RTT);
		return;
	}
	ADD(value->microseconds, rtt);
	ADD(value->connections, 1);
}

// A connect begins when the socket becomes SYN_SENT, before its first SYN, and ends when it leaves SYN_SENT; or, if both
// ends have called, SYN_RECV. A socket in SYN_RECV that has no start was accepted, not connected.
SEC("tp_btf/inet_sock_set_state")
int state_changes(__u64 *ctx)
{
	const struct sock *sk = (void *)ctx[0];
	int from = (int)ctx[1], to = (int)ctx[2];
	__u64 id = ctx[0], now, *started;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (to == TCP_SYN_SENT) {
		now = bpf_ktime_get_ns();
		if (bpf_map_update_elem(&connect_starts, &id, &now, BPF_ANY))
			count_lost(LOST_CONNECT_STARTS);
		return 0;
	}
	switch (from) {
	case TCP_SYN_SENT:
		if (to != TCP_SYN_RECV)
			end_connect(sk, id, to, bpf_map_lookup_elem(&connect_starts, &id));
		return 0;
	case TCP_SYN_RECV:
		started = sk->sk_socket ? bpf_map_lookup_elem(&connect_starts, &id) : 0;
		if (started)
			end_connect(sk, id, to, started);
		else if (settings.counts_edges && to == TCP_ESTABLISHED)
			begin_edge(sk, ROLE_SERVER);
		return 0;
	case TCP_CLOSE:
	case TCP_LISTEN:
		return 0;
	}
	if (to == TCP_CLOSE) {
		count_rtt(sk);
		if (settings.counts_edges)
			end_edge(sk, from);
	}
	return 0;
}

COUNTING_MAP(icmp_sent_fragmentation_needed_total, netns, count_value);

// The packet that did not fit has been routed; the device it came by may be anything.
SEC("tp_btf/icmp_send")
int sent_icmp(__u64 *ctx)
{
	const struct sk_buff *skb = (void *)ctx[0];
	struct dst_entry *dst = route_of(skb);
	struct netns netns = {};

	if ((int)ctx[1] != ICMP_DEST_UNREACH || (int)ctx[2] != ICMP_FRAG_NEEDED)
		return 0;
	if (dst)
		netns = netns_of_route(dst);
	count(&icmp_sent_fragmentation_needed_total, LOST_FRAGMENTATION_NEEDED, &netns, 1);
	return 0;
}

// Which process is in which network namespace, without the right to look into /proc/<pid>/ns of others.
struct task_record {
	__u32 pid; // of the process as the reader sees it
	__u32 netns_inode;
	__u64 netns_cookie; // 0 before 5.12
};

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct *reader = (void *)bpf_get_current_task();
	struct task_record record = {};
	struct nsproxy *nsproxy;
	struct pid *pid;
	struct net *net;
	__u32 level;

	if (!task || task->pid != task->tgid)
		return 0;
	nsproxy = task->nsproxy;
	pid = task->thread_pid;
	if (!nsproxy || !pid) // it is ending
		return 0;
	level = BPF_CORE_READ(reader, thread_pid, level);
	bpf_core_read(&record.pid, sizeof(record.pid), &pid->numbers[level].nr);
	net = nsproxy->net_ns;
	record.netns_inode = net->ns.inum;
	if (bpf_core_field_exists(net->net_cookie))
		record.netns_cookie = net->net_cookie;
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
