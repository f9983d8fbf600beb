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
struct sock_common {
	unsigned short skc_family;
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
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
};
// The tracepoint's arguments, as far as they came after the first two: reason in 5.17, rx_sk in 6.11.
struct trace_event_raw_kfree_skb {
	enum skb_drop_reason reason;
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

#define REASON_UNKNOWN 0xffffffffu

// The same order as `tracedProtocols` and `tracedDirections` in agent/host/tracer.ts.
enum protocol { PROTOCOL_OTHER, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP };
enum direction { DIRECTION_IN, DIRECTION_OUT, DIRECTION_FORWARD };
// One slot a counting map, in the order of `mapNames` in agent/host/tracer.ts.
enum lost_slot { LOST_DROPPED_PACKETS, LOST_SLOTS };

// A namespace: its inode, and the low half of its cookie because inodes are reused at once. 0, 0: could not be told.
struct netns {
	__u32 inode;
	__u32 cookie;
};

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

static __always_inline struct dst_entry *route_of(const struct sk_buff *skb)
{
	return (struct dst_entry *)(skb->_skb_refdst & ~SKB_DST_NOREF);
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

// The namespace the packet died in. The receiving socket knows it best, then the device, then the socket the packet
// bears: one that crosses a veth pair keeps its sender's until the IP layer of the receiving namespace takes it off.
static __always_inline struct netns netns_of_packet(const struct sk_buff *skb, const struct sock *sk, const struct sock *receiver)
{
	struct netns netns = {};
	struct net_device *dev = skb->dev;
	struct dst_entry *dst;

	if (receiver)
		return netns_of(receiver->__sk_common.skc_net.net);
	if (dev)
		netns = netns_of(dev->nd_net.net);
	if (!netns.inode && sk)
		netns = netns_of(sk->__sk_common.skc_net.net);
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

// An IPv6 packet whose first header is an extension header is `other`.
static __always_inline enum protocol protocol_of(const struct sk_buff *skb, const unsigned char *header)
{
	__u8 protocol = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		bpf_probe_read_kernel(&protocol, 1, header + 9);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		bpf_probe_read_kernel(&protocol, 1, header + 6);
	return protocol_class(protocol);
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

SEC("tp_btf/kfree_skb")
int dropped_packets(__u64 *ctx)
{
	const struct sk_buff *skb = (void *)ctx[0];
	const struct sock *sk = skb->sk, *receiver = 0;
	const unsigned char *header = skb->data;
	struct drop_value zero = {}, *value;
	struct drop_key key = {};
	__u16 segments = 0;

	if (!is_packet(skb, sk))
		return 0;
	if (skb->network_header) // else nobody has looked for it yet: data is all there is
		header = skb->head + skb->network_header;
	key.reason = REASON_UNKNOWN;
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, reason))
		key.reason = (__u32)ctx[2];
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, rx_sk))
		receiver = (void *)ctx[3];
	key.netns = netns_of_packet(skb, sk, receiver);
	key.protocol = protocol_of(skb, header);
	key.direction = direction_of(skb, receiver, key.reason, header);
	value = counter(&dropped_packets_total, &key, &zero);
	if (!value) {
		count_lost(LOST_DROPPED_PACKETS);
		return 0;
	}
	BPF_CORE_READ_INTO(&segments, (struct skb_shared_info *)(skb->head + skb->end), gso_segs);
	// Atomic although each CPU has its own: before 6.2 an interrupt may run this program within itself.
	__sync_fetch_and_add(&value->packets, segments ? segments : 1);
	// Whatever layer holds it, data is where that layer has read to: len + (data - header) is the same number.
	__sync_fetch_and_add(&value->bytes, (__u64)skb->len + skb->data - header);
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
