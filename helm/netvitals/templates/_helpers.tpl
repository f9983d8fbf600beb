{{- define "netvitals.labels" -}}
{{ include "netvitals.selector" . }}
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
