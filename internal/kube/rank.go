package kube

import "slices"

// Ranks is how many ranks there are: Rank is below it.
func Ranks() int { return len(order()) + 2 }

// Rank is the place of an object among others that are applied together, from 0: what others need comes first. Kinds of
// Kubernetes that nothing needs come last but for custom objects, which need their definition, and webhooks, which might refuse
// all that comes after them.
func (o Object) Rank() int {
	kinds := order()
	if i := slices.Index(kinds, o.Kind()); i >= 0 {
		return i
	}
	if o.Kind() == "ValidatingWebhookConfiguration" || o.Kind() == "MutatingWebhookConfiguration" {
		return len(kinds) + 1
	}
	return len(kinds)
}

// order is by kind alone: a custom kind of the same name is at its place there as well as anywhere.
func order() []string {
	return []string{
		"Namespace",
		"CustomResourceDefinition", // takes a moment to be served, so as early as can be
		"PriorityClass", "RuntimeClass", "StorageClass", "CSIDriver", "IngressClass",
		"ResourceQuota", "LimitRange", "NetworkPolicy",
		"ServiceAccount", "Secret", "ConfigMap",
		"PersistentVolume", "PersistentVolumeClaim",
		"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
		"Service", "Endpoints", "EndpointSlice",
		"PodDisruptionBudget",
		"DaemonSet", "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController", "Pod",
		"Job", "CronJob", "HorizontalPodAutoscaler", "Ingress", "APIService",
	}
}
