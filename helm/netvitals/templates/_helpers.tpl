{{- define "netvitals.labels" -}}
{{ include "netvitals.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "netvitals.selector" -}}
app.kubernetes.io/name: netvitals
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "netvitals.name" -}}
{{- $name := ternary .Release.Name (printf "%s-netvitals" .Release.Name) (contains "netvitals" .Release.Name) }}
{{- .Values.fullnameOverride | default $name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "netvitals.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "netvitals.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "netvitals.image" -}}
{{- with .Values.image }}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- /* Of a container, but for the capabilities it gets back, and with them its user. */ -}}
{{- define "netvitals.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- /* Kubernetes gives added capabilities to root only; root too is who may read /var/log/pods. */ -}}
{{- define "netvitals.needsRoot" -}}
{{- if or (ne .Values.tier "basic") (eq .Values.identity.pods "logs") }}yes{{ end }}
{{- end }}

{{- /* The capabilities of the tier and of those above it, each with what it is for. */ -}}
{{- define "netvitals.capabilities" -}}
{{- $reached := false }}
{{- range .Files.Get "tiers.yaml" | fromYamlArray }}
{{- if not $reached }}
{{- range $capability, $for := .adds }}
- {{ $capability }} # {{ $for }}
{{- end }}
{{- end }}
{{- if eq .name $.Values.tier }}{{ $reached = true }}{{ end }}
{{- end }}
{{- end }}

{{- /* The rules of the ClusterRole: what the agent asks the API server or the kubelet for. */ -}}
{{- define "netvitals.rules" -}}
{{- if or (eq .Values.identity.pods "api") (eq .Values.identity.peers "pods") }}
- { apiGroups: [""], resources: [pods], verbs: [list, watch] }
{{- end }}
{{- if eq .Values.identity.pods "kubelet" }}
- { apiGroups: [""], resources: [nodes/pods], verbs: [get] }
{{- end }}
{{- if eq .Values.identity.peers "endpointslices" }}
- { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch] }
{{- end }}
{{- if ne .Values.identity.peers "off" }}
- { apiGroups: [""], resources: [services], verbs: [list, watch] }
{{- end }}
{{- end }}

{{- define "netvitals.scheme" -}}
{{ hasKey (.Values.web.config | default dict) "tls_server_config" | ternary "https" "http" }}
{{- end }}

{{- /* How the kubelet asks, which has no password and no certificate: /healthz and /readyz take none, but a TLS server may. */ -}}
{{- define "netvitals.probe" -}}
{{- $certificate := dig "tls_server_config" "client_auth_type" "" (.values.web.config | default dict) | hasPrefix "Require" }}
{{- $probe := ternary (dict "port" "metrics") (dict "port" "metrics" "path" .path "scheme" (upper .scheme)) $certificate }}
{{- if not (has .values.listenAddress (list "" "[::]" "0.0.0.0")) }}
{{- $_ := set $probe "host" (.values.listenAddress | trimPrefix "[" | trimSuffix "]") }}
{{- end }}
{{- dict (ternary "tcpSocket" "httpGet" $certificate) $probe | toYaml }}
{{- end }}

{{- /* Where Prometheus asks, for a PodMonitor and a ServiceMonitor alike. */ -}}
{{- define "netvitals.endpoint" -}}
{{- with .Values.monitor }}
- port: metrics
  honorLabels: true # namespace and pod are the agent's to say
  scheme: {{ include "netvitals.scheme" $ }}
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .auth }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  relabelings:
    - { sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node }
    # Of the agent's own pod; with them every series would be another after each rollout.
    - { action: labeldrop, regex: pod|namespace|container|endpoint }
    {{- with .relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Whether the cluster knows the resources of the Prometheus operator. */ -}}
{{- define "netvitals.hasOperator" -}}
{{- if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}yes{{ end }}
{{- end }}
