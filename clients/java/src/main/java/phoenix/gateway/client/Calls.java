package phoenix.gateway.client;

import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;

/** Makes calls and streams over one channel. Everything that it throws about a call is a GatewayException. */
final class Calls {
    private final ManagedChannel managed;
    private final Channel channel;

    /** Args: `channel`: the managed one with the interceptors. */
    Calls(ManagedChannel managed, Channel channel) {
        this.managed = managed;
        this.channel = channel;
    }

    <Q, A> A unary(MethodDescriptor<Q, A> method, Q request, CallSettings settings) {
        try {
            return ClientCalls.blockingUnaryCall(channel, method, settings.options(), request);
        } catch (StatusRuntimeException failed) {
            throw GatewayException.of(failed).orElseThrow(() -> failed);
        }
    }

    <Q, A> Answers<A> serverStream(MethodDescriptor<Q, A> method, Q request, CallSettings settings) {
        ClientCall<Q, A> call = newCall(method, settings);
        Answers<A> answers = new Answers<>(call);
        call.start(answers.listener(), new Metadata());
        call.request(1);
        call.sendMessage(request);
        call.halfClose();
        return answers;
    }

    /** Returns a call that is not started. */
    <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallSettings settings) {
        return channel.newCall(method, settings.options());
    }

    boolean isClosed() {
        return managed.isShutdown();
    }
}
