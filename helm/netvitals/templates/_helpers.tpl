{{- define "netvitals.labels" -}}
app.kubernetes.io/name: netvitals
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "netvitals.selector" -}}
app.kubernetes.io/name: netvitals
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "netvitals.name" -}}
{{- if contains "netvitals" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-netvitals{{ end }}
{{- end }}

{{- define "netvitals.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "netvitals.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- /* Each capability and what needs it. */ -}}
{{- define "netvitals.capabilities" -}}
{{- $tiers := list "none" "sockets" "events" "full" }}
{{- if not (has .Values.tier $tiers) }}{{ fail (printf "tier is %q, but must be one of: none, sockets, events, full" .Values.tier) }}{{ end }}
{{- if ne .Values.tier "none" }}
- NET_ADMIN # conntrack statistics by netlink
{{- end }}
{{- if has .Values.tier (list "events" "full") }}
- BPF # the tracer: drops, resets, retransmissions, connects; and which process is in which namespace
- PERFMON # the same
{{- end }}
{{- if eq .Values.tier "full" }}
- SYS_ADMIN # enters named network namespaces
{{- end }}
{{- end }}
