package kube

import (
	"bytes"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func decoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stored is the value that an API server keeps of an object.
func stored(t testing.TB, o runtime.Object) []byte {
	t.Helper()
	d := decoder(t)
	kinds, _, err := d.scheme.ObjectKinds(o)
	if err != nil {
		t.Fatal(err)
	}
	o.GetObjectKind().SetGroupVersionKind(kinds[0])
	var out bytes.Buffer
	if err := d.protobuf.Encode(o, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ofCluster is metadata as a cluster has it.
func ofCluster(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: namespace, UID: "6f3b5f0e-0000-4000-8000-000000000001", ResourceVersion: "48211", Generation: 3,
		CreationTimestamp: metav1.NewTime(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)),
		SelfLink:          "/api/v1/" + name, //lint:ignore SA1019 old objects have it
		Labels:            map[string]string{"app": name},
		Annotations:       map[string]string{"note": "größe: \"1\""},
		ManagedFields:     []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: "Apply"}},
		Finalizers:        []string{"example.com/keep", "foregroundDeletion"},
	}
}

// byUser is the same as its author wrote it.
func byUser(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: namespace, Labels: map[string]string{"app": name},
		Annotations: map[string]string{"note": "größe: \"1\""}, Finalizers: []string{"example.com/keep"},
	}
}

func ptr[T any](v T) *T { return &v }

// pair is an object as a cluster has it, and as its author wrote it.
type pair struct{ stored, want runtime.Object }

// pairs has an object of each kind that needs care, and of the most common ones.
func pairs() map[string]pair {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "registry.example.com/web:1.2", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("128Mi"), "cpu": resource.MustParse("100m")}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: "/health", Port: intstr.FromString("http"),
			}}},
		}}},
	}
	deployment := appsv1.DeploymentSpec{Replicas: ptr(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template}
	service := corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080), NodePort: 30080}}, Selector: map[string]string{"app": "web"}}
	inCluster := service
	inCluster.ClusterIP, inCluster.ClusterIPs, inCluster.HealthCheckNodePort = "10.96.0.7", []string{"10.96.0.7"}, 32000
	headless := service
	headless.ClusterIP, headless.ClusterIPs = "None", []string{"None"}
	pod := template.Spec
	onNode := pod
	onNode.NodeName = "node-1"
	token := ofCluster("shop", "token")
	token.Annotations["kubernetes.io/service-account.uid"] = "5"
	claim := ofCluster("shop", "data")
	claim.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	job := ofCluster("shop", "migrate")
	job.Labels["batch.kubernetes.io/controller-uid"] = "7"
	jobTemplate := *template.DeepCopy()
	jobTemplate.Labels["controller-uid"] = "7"
	return map[string]pair{
		"namespace": {
			&corev1.Namespace{ObjectMeta: ofCluster("", "shop"), Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}, Status: corev1.NamespaceStatus{Phase: "Active"}},
			&corev1.Namespace{ObjectMeta: byUser("", "shop")},
		},
		"deployment": {
			&appsv1.Deployment{ObjectMeta: ofCluster("shop", "web"), Spec: deployment, Status: appsv1.DeploymentStatus{Replicas: 3}},
			&appsv1.Deployment{ObjectMeta: byUser("shop", "web"), Spec: deployment},
		},
		"service":  {&corev1.Service{ObjectMeta: ofCluster("shop", "web"), Spec: inCluster}, &corev1.Service{ObjectMeta: byUser("shop", "web"), Spec: service}},
		"headless": {&corev1.Service{ObjectMeta: ofCluster("shop", "web"), Spec: headless}, &corev1.Service{ObjectMeta: byUser("shop", "web"), Spec: headless}},
		"configmap": {
			&corev1.ConfigMap{ObjectMeta: ofCluster("shop", "settings"), Data: map[string]string{"yes": "no", "text": "a\n  b: c\n---\n\ttab\u2028\x1b[0m"}, BinaryData: map[string][]byte{"b": {0, 255}}},
			&corev1.ConfigMap{ObjectMeta: byUser("shop", "settings"), Data: map[string]string{"yes": "no", "text": "a\n  b: c\n---\n\ttab\u2028\x1b[0m"}, BinaryData: map[string][]byte{"b": {0, 255}}},
		},
		"secret": {
			&corev1.Secret{ObjectMeta: ofCluster("shop", "db"), Type: "Opaque", Data: map[string][]byte{"password": []byte("hunter2\x00\xff")}},
			&corev1.Secret{ObjectMeta: byUser("shop", "db"), Type: "Opaque", Data: map[string][]byte{"password": []byte("hunter2\x00\xff")}},
		},
		"token": {
			&corev1.Secret{ObjectMeta: token, Type: corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte("x")}},
			&corev1.Secret{ObjectMeta: byUser("shop", "token"), Type: corev1.SecretTypeServiceAccountToken},
		},
		"serviceaccount": {
			&corev1.ServiceAccount{ObjectMeta: ofCluster("shop", "robot"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
			&corev1.ServiceAccount{ObjectMeta: byUser("shop", "robot"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
		},
		"pod": {
			&corev1.Pod{ObjectMeta: ofCluster("shop", "one"), Spec: onNode, Status: corev1.PodStatus{PodIP: "10.1.2.3"}},
			&corev1.Pod{ObjectMeta: byUser("shop", "one"), Spec: pod},
		},
		"claim": {
			&corev1.PersistentVolumeClaim{ObjectMeta: claim, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1", StorageClassName: ptr("fast")}},
			&corev1.PersistentVolumeClaim{ObjectMeta: byUser("shop", "data"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr("fast")}},
		},
		"volume": {
			&corev1.PersistentVolume{ObjectMeta: ofCluster("", "pv-1"), Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: "data", UID: types.UID("9"), ResourceVersion: "4"}}},
			&corev1.PersistentVolume{ObjectMeta: byUser("", "pv-1"), Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "shop", Name: "data"}}},
		},
		"job": {
			&batchv1.Job{ObjectMeta: job, Spec: batchv1.JobSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"controller-uid": "7"}}, Template: jobTemplate}},
			&batchv1.Job{ObjectMeta: byUser("shop", "migrate"), Spec: batchv1.JobSpec{Template: template}},
		},
	}
}
